"""The figures that models are judged by."""

import re

import numpy as np
from sklearn.metrics import (  # type: ignore[import-untyped]
    accuracy_score,
    f1_score,
    recall_score,
)

from covertype.dataset import Ints
from covertype.schema import CLASSES

MACRO_F1 = "macro_f1"
"""Name of the figure that decides: every class counts alike, however rare."""


def recall_name(class_name: str) -> str:
    """The name of a class's recall in MLflow, for example ``recall_spruce_fir``."""
    return "recall_" + re.sub(r"\W+", "_", class_name.lower())


def evaluate(labels: Ints, predicted: Ints) -> dict[str, float]:
    """Compare predictions with the truth.

    Args:
        labels: int64 [rows], the true classes.
        predicted: int64 [rows].

    Returns:
        ``accuracy``, ``macro_f1`` and one recall per class that occurs, all in 0..1.
    """
    numbers = np.arange(len(CLASSES))
    present = set(np.unique(labels).tolist())
    recalls = recall_score(labels, predicted, labels=numbers, average=None, zero_division=0)
    return {
        "accuracy": float(accuracy_score(labels, predicted)),
        MACRO_F1: float(
            f1_score(labels, predicted, labels=sorted(present), average="macro", zero_division=0)
        ),
        **{
            recall_name(name): float(recall)
            for number, (name, recall) in enumerate(zip(CLASSES, recalls, strict=True))
            if number in present
        },
    }
