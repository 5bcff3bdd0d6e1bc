"""Whether one model is better than another on the same rows by more than chance."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import binom  # type: ignore[import-untyped]

from covertype.dataset import Ints
from covertype.evaluation import f1_scores
from covertype.schema import CLASSES

SIGNIFICANCE = 0.05
"""A difference that chance alone brings as often as this, or more often, is noise."""

_RESAMPLES = 2000
_SEED = 20250330


@dataclass(frozen=True)
class Difference:
    """A candidate's figure less the current model's.

    Attributes:
        value: The difference.
        p_value: How often chance alone would bring one as large, in either direction.
    """

    value: float
    p_value: float

    @property
    def is_gain(self) -> bool:
        """Whether the candidate is better by more than noise."""
        return self.value > 0 and self.p_value < SIGNIFICANCE

    @property
    def is_loss(self) -> bool:
        """Whether the candidate is worse by more than noise."""
        return self.value < 0 and self.p_value < SIGNIFICANCE


def accuracy_difference(labels: Ints, candidate: Ints, current: Ints) -> Difference:
    """Compare accuracies by McNemar's test with the mid-p value (Fagerland et al., 2013).

    Only rows on which one of the two is right tell them apart; without a difference, either is
    the right one in half of them.

    Args:
        labels: int64 [rows], the true classes.
        candidate: int64 [rows], what the candidate predicts.
        current: int64 [rows], what the current model predicts.
    """
    right, right_before = candidate == labels, current == labels
    gained, lost = int(np.sum(right & ~right_before)), int(np.sum(~right & right_before))
    return Difference((gained - lost) / len(labels), mid_p(gained, lost))


def mid_p(gained: int, lost: int) -> float:
    """Two-sided mid-p value of that many gains and losses where both are equally likely."""
    few, total = min(gained, lost), gained + lost
    if gained == lost:
        return 1.0
    return float(2 * binom.cdf(few, total, 0.5) - binom.pmf(few, total, 0.5))


def macro_f1_difference(labels: Ints, candidate: Ints, current: Ints) -> Difference:
    """Compare macro-F1 by a paired bootstrap (Efron and Tibshirani, 1993) with a fixed seed.

    The rows are drawn again many times, with both models' predictions; the p-value is twice the
    share of draws in which the difference has the other sign.

    Args:
        labels: int64 [rows], the true classes.
        candidate: int64 [rows], what the candidate predicts.
        current: int64 [rows], what the current model predicts.
    """
    size = len(CLASSES)
    # Rows with the same class and the same two predictions are alike, so instead of rows their
    # numbers are drawn: a few dozen a resample.
    cells, counts = np.unique((labels * size + candidate) * size + current, return_counts=True)
    drawn = np.random.default_rng(_SEED).multinomial(
        len(labels), counts / len(labels), size=_RESAMPLES
    )
    truth, said = np.divmod(cells // size, size)
    said_before = cells % size
    draws = np.vstack([counts, drawn])
    differences = _macro_f1(draws, truth, said) - _macro_f1(draws, truth, said_before)
    value, resampled = float(differences[0]), differences[1:]
    # Draws without a difference count for both sides.
    other_side = np.mean(resampled <= 0) if value > 0 else np.mean(resampled >= 0)
    return Difference(value, min(1.0, 2 * max(float(other_side), 0.5 / _RESAMPLES)))


def recall_differences(labels: Ints, candidate: Ints, current: Ints) -> dict[str, Difference]:
    """Compare the recall of each class that occurs, as ``accuracy_difference`` does on its rows."""
    return {
        name: accuracy_difference(labels[members], candidate[members], current[members])
        for number, name in enumerate(CLASSES)
        if (members := labels == number).any()
    }


def _macro_f1(draws: Ints, truth: Ints, said: Ints) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Macro-F1 of each draw; a class that a draw lacks counts for nothing in it."""
    size = len(CLASSES)
    matrices = np.zeros((len(draws), size, size), dtype=np.int64)
    for cell in range(len(truth)):
        matrices[:, truth[cell], said[cell]] += draws[:, cell]
    scores = f1_scores(matrices)
    scores[matrices.sum(axis=-1) == 0] = np.nan
    means: np.ndarray[tuple[int], np.dtype[np.float64]] = np.nanmean(scores, axis=-1)
    return means
