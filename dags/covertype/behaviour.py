"""How a model must behave on real rows, whatever its figures (Ribeiro et al., 2020).

Invariance: what must not matter does not. Direction: what must matter does so the right way.
Minimum: no class is given up.
"""

from collections.abc import Callable

import numpy as np

from covertype.dataset import Floats, Ints, Rows
from covertype.evaluation import class_figures, confusion
from covertype.schema import CLASSES, INPUTS

Predictor = Callable[[Floats], Ints]
"""Class numbers, int64 [rows], of inputs float32 [rows, len(INPUTS)]."""

MIN_SAME_AFTER_A_DEGREE = 0.95
"""Share of rows that must stay in their class when the slope's aspect turns by one degree."""
MIN_RECALL = 0.4
"""Of every class: a model that misses more than that of one has given it up."""
_MIN_ROWS_OF_A_CLASS = 20

_HIGH, _LOW = 3600.0, 2100.0
_POSITION = {column.name: position for position, column in enumerate(INPUTS)}
_ROWS_ALONE = 50


def shortcomings(predict: Predictor, rows: Rows) -> list[str]:
    """A sentence for each behaviour that is not as it must be.

    Args:
        predict: The model.
        rows: Held-out rows.
    """
    predicted = predict(rows.features)
    return [
        *_invariance(predict, rows.features, predicted),
        *_direction(predict, rows.features, predicted),
        *_minimum_recall(rows.labels, predicted),
    ]


def _invariance(predict: Predictor, inputs: Floats, predicted: Ints) -> list[str]:
    found = []
    some = slice(None, None, max(1, len(inputs) // _ROWS_ALONE))
    alone = np.concatenate([predict(row[None, :]) for row in inputs[some]])
    if not np.array_equal(alone, predicted[some]):
        found.append("It predicts a row differently alone and among others.")
    turned = _with(inputs, "Aspect", (inputs[:, _POSITION["Aspect"]] + 1) % 360)
    same = float(np.mean(predict(turned) == predicted))
    if same < MIN_SAME_AFTER_A_DEGREE:
        found.append(
            f"A degree of aspect changes the class of {1 - same:.1%} of the rows, more than "
            f"{1 - MIN_SAME_AFTER_A_DEGREE:.0%}."
        )
    return found


def _direction(predict: Predictor, inputs: Floats, predicted: Ints) -> list[str]:
    """Krummholz is the wood at the tree line; ponderosa pine is that of the lowest slopes."""
    high = predict(_with(inputs, "Elevation", _HIGH))
    low = predict(_with(inputs, "Elevation", _LOW))
    found = []
    for name, more, less in (("Krummholz", high, low), ("Ponderosa Pine", low, high)):
        number = CLASSES.index(name)
        shares = [float(np.mean(labels == number)) for labels in (more, predicted, less)]
        if not shares[0] > shares[1] >= shares[2]:
            where = "high up" if more is high else "low down"
            found.append(
                f"{name} is not more frequent {where}: {shares[0]:.1%} of the rows there, "
                f"{shares[1]:.1%} at their own height, {shares[2]:.1%} at the other end."
            )
    return found


def _minimum_recall(labels: Ints, predicted: Ints) -> list[str]:
    return [
        f"It finds {figures.recall:.1%} of the class {figures.name}, fewer than {MIN_RECALL:.0%}."
        for figures in class_figures(confusion(labels, predicted))
        # Of fewer rows the share says nothing.
        if figures.rows >= _MIN_ROWS_OF_A_CLASS and figures.recall < MIN_RECALL
    ]


def _with(inputs: Floats, column: str, values: Floats | float) -> Floats:
    changed = inputs.copy()
    changed[:, _POSITION[column]] = values
    return changed
