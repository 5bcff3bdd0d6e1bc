"""What a model's plots show beyond its figures: how it learns, and what it looks at."""

from dataclasses import dataclass

import numpy as np

from covertype.candidates import Candidate
from covertype.dataset import Floats, Ints, Split, stratified_share
from covertype.evaluation import ACCURACY, MACRO_F1, evaluate
from covertype.export import ExportedModel, open_session, predict
from covertype.features import derive
from covertype.schema import INPUTS
from covertype.training import SEED, available_cpus, fit

_SHARES = (0.1, 0.25, 0.5)
_MOST_ROWS_SHUFFLED = 10_000


@dataclass(frozen=True)
class LearningPoint:
    """What a fit to a share of the rows gives.

    Attributes:
        rows: How many rows it was fitted to.
        accuracy: On the held-out rows, in 0..1.
        macro_f1: On the same.
    """

    rows: int
    accuracy: float
    macro_f1: float


@dataclass(frozen=True)
class Insight:
    """What was found.

    Attributes:
        learning: From few rows to all.
        importance: By input, how much accuracy is lost on the held-out rows when its values are
            shuffled among them.
    """

    learning: list[LearningPoint]
    importance: dict[str, float]


def examine(candidate: Candidate, model: ExportedModel, parts: Split) -> Insight:
    """Fit a candidate to smaller shares of the rows, and shuffle each input of the model.

    Args:
        candidate: What the model is a fit of.
        model: The fit to all rows of ``parts.fit``.
        parts: The rows.
    """
    test = parts.test
    learning = []
    for share in _SHARES:
        rows = stratified_share(parts.fit, share)
        estimator = fit(candidate, rows, threads=available_cpus())
        predicted = estimator.predict(derive(test.features))
        learning.append(_point(len(rows), test.labels, predicted))
    learning.append(_point(len(parts.fit), test.labels, model.predicted))
    return Insight(learning, _importance(model, test.features, test.labels))


def _point(rows: int, labels: Ints, predicted: Ints) -> LearningPoint:
    figures = evaluate(labels, predicted)
    return LearningPoint(rows, figures[ACCURACY], figures[MACRO_F1])


def _importance(model: ExportedModel, inputs: Floats, labels: Ints) -> dict[str, float]:
    """Permutation importance (Breiman, 2001) of what clients send; derived columns follow."""
    session = open_session(model.content)
    some = slice(_MOST_ROWS_SHUFFLED)
    inputs, labels = inputs[some], labels[some]
    accuracy = float(np.mean(model.predicted[some] == labels))
    order = np.random.default_rng(SEED).permutation(len(inputs))
    importance = {}
    for position, column in enumerate(INPUTS):
        shuffled = inputs.copy()
        shuffled[:, position] = inputs[order, position]
        importance[column.name] = accuracy - float(np.mean(predict(session, shuffled) == labels))
    return importance
