"""Code tests of the paired comparisons: what is noise and what is not."""

import numpy as np
import pytest

from covertype.comparison import (
    accuracy_difference,
    macro_f1_difference,
    mid_p,
    recall_differences,
)
from covertype.dataset import Ints


def predictions(labels: Ints, wrong: int, offset: int = 0) -> Ints:
    """Predictions that are wrong in so many rows, from a place on."""
    predicted = labels.copy()
    places = slice(offset, offset + wrong)
    predicted[places] = (labels[places] + 1) % 7
    return predicted


LABELS = np.arange(700) % 7


def test_mid_p_by_hand() -> None:
    # 2 P(X <= 1) - P(X = 1) for 6 trials at 1/2: (2 * 7 - 6) / 64.
    assert mid_p(5, 1) == pytest.approx(8 / 64)
    assert mid_p(1, 5) == mid_p(5, 1)
    assert mid_p(3, 3) == mid_p(0, 0) == 1.0


def test_equal_predictions_differ_in_nothing() -> None:
    same = predictions(LABELS, 50)
    for difference in (
        accuracy_difference(LABELS, same, same),
        macro_f1_difference(LABELS, same, same),
    ):
        assert difference.value == 0
        assert not difference.is_gain
        assert not difference.is_loss


def test_a_clear_gain_is_a_loss_the_other_way_round() -> None:
    better, poorer = predictions(LABELS, 20), predictions(LABELS, 90)
    for compare in (accuracy_difference, macro_f1_difference):
        assert compare(LABELS, better, poorer).is_gain
        assert compare(LABELS, poorer, better).is_loss
    assert accuracy_difference(LABELS, better, poorer).value == pytest.approx(0.1)


def test_a_few_rows_are_noise() -> None:
    # Each is right where the other is wrong, but for three rows.
    one, other = predictions(LABELS, 40), predictions(LABELS, 43, offset=300)
    for compare in (accuracy_difference, macro_f1_difference):
        difference = compare(LABELS, one, other)
        assert difference.value > 0
        assert not difference.is_gain


def test_the_bootstrap_keeps_its_level() -> None:
    """Of models that are equally good, few are taken for better or worse."""
    random = np.random.default_rng(1)
    p_values = []
    for _ in range(60):
        labels = random.integers(0, 7, 400)
        pair = [np.where(random.random(400) < 0.9, labels, (labels + 1) % 7) for _ in range(2)]
        p_values.append(macro_f1_difference(labels, *pair).p_value)
    assert np.mean(np.array(p_values) < 0.05) <= 0.10
    assert 0.3 < np.median(p_values) < 0.7


def test_recall_is_compared_within_each_class() -> None:
    current = LABELS.copy()
    candidate = np.where(LABELS == 6, 5, LABELS)
    found = recall_differences(LABELS, candidate, current)
    assert found["Krummholz"].value == -1
    assert found["Krummholz"].is_loss
    assert found["Aspen"].value == 0
