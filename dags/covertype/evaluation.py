"""The figures that models are judged by."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covertype.dataset import Ints
from covertype.schema import CLASSES

Counts = NDArray[np.int64]

ACCURACY = "accuracy"
MACRO_F1 = "macro_f1"
"""Name of the mean of the classes' F1: every class counts alike, however rare."""


@dataclass(frozen=True)
class ClassFigures:
    """How well one class is told apart.

    Attributes:
        name: The class.
        rows: How many rows are of it.
        precision: Share of rows said to be of it that are, in 0..1.
        recall: Share of its rows that are said to be of it, in 0..1.
        f1: Their harmonic mean.
    """

    name: str
    rows: int
    precision: float
    recall: float
    f1: float


def recall_name(class_name: str) -> str:
    """The name of a class's recall in MLflow, for example ``recall_spruce_fir``."""
    return "recall_" + re.sub(r"\W+", "_", class_name.lower())


def confusion(labels: Ints, predicted: Ints) -> Counts:
    """Count rows by true class (first axis) and predicted class, int64 [classes, classes]."""
    size = len(CLASSES)
    counts: Counts = np.bincount(labels * size + predicted, minlength=size * size)
    return counts.reshape(size, size)


def f1_scores(matrix: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """F1 of each class, float64 [..., classes], of confusion matrices [..., classes, classes].

    A class that neither occurs nor is predicted has none: NaN.
    """
    hits = np.diagonal(matrix, axis1=-2, axis2=-1)
    total = matrix.sum(axis=-1) + matrix.sum(axis=-2)
    with np.errstate(invalid="ignore"):
        scores: NDArray[np.float64] = 2 * hits / np.where(total == 0, np.nan, total)
    return scores


def class_figures(matrix: Counts) -> list[ClassFigures]:
    """The figures of each class that occurs."""
    found = []
    scores = f1_scores(matrix)
    for number, name in enumerate(CLASSES):
        rows, said, hits = matrix[number].sum(), matrix[:, number].sum(), matrix[number, number]
        if rows:
            found.append(
                ClassFigures(
                    name,
                    int(rows),
                    float(hits / said) if said else 0.0,
                    float(hits / rows),
                    float(scores[number]),
                )
            )
    return found


def evaluate(labels: Ints, predicted: Ints) -> dict[str, float]:
    """Compare predictions with the truth.

    Args:
        labels: int64 [rows], the true classes.
        predicted: int64 [rows].

    Returns:
        ``accuracy``, ``macro_f1`` and one recall per class that occurs, all in 0..1.
    """
    classes = class_figures(confusion(labels, predicted))
    return {
        ACCURACY: float(np.mean(labels == predicted)),
        MACRO_F1: float(np.mean([figures.f1 for figures in classes])),
        **{recall_name(figures.name): figures.recall for figures in classes},
    }
