"""Fitting candidates, once or in cross-validation."""

import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.ensemble import (  # type: ignore[import-untyped]
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from covertype.candidates import Candidate
from covertype.dataset import Ints, Rows, folds
from covertype.features import derive

SEED = 20250330

Estimator = Any
"""A fitted scikit-learn classifier of one of the families; scikit-learn has no types."""

# Boosting stops once this many rounds have not lowered the loss on a tenth of the rows.
_EARLY_STOPPING: dict[str, Any] = {
    "early_stopping": True,
    "validation_fraction": 0.1,
    "n_iter_no_change": 10,
}


@dataclass(frozen=True)
class CrossValidation:
    """What cross-validation gives.

    Attributes:
        predicted: int64 [rows], the class of each row, said by the fit that it was left out of.
        estimator: The last of the fits.
        left_out: Rows that it was not fitted to.
        candidate: The candidate, with the number of rounds that early stopping found.
    """

    predicted: Ints
    estimator: Estimator
    left_out: Rows
    candidate: Candidate


def available_cpus() -> int:
    """How many processors this process may run on."""
    return len(os.sched_getaffinity(0))


def params_of(candidate: Candidate) -> dict[str, object]:
    """What makes a fit what it is, for its run in MLflow."""
    return {
        "candidate": candidate.name,
        "family": candidate.family,
        "seed": SEED,
        **candidate.params,
    }


def fit(
    candidate: Candidate, rows: Rows, threads: int, *, early_stopping: bool = False
) -> Estimator:
    """Fit a candidate to rows; the same rows and seed give the same model for any ``threads``.

    Args:
        candidate: What to fit.
        rows: What to fit it to.
        threads: How many threads a forest may use: one where candidates share the machine.
        early_stopping: Whether boosting may end before the candidate's number of rounds.
    """
    features = derive(rows.features)
    # Boosting's OpenMP threads wait for each other by spinning: where another process has one of
    # the two cores, two threads took thirty times as long as one.
    with threadpool_limits(limits=1):
        return _estimator(candidate, threads, early_stopping).fit(features, rows.labels)


def cross_validate(candidate: Candidate, rows: Rows, folds_count: int) -> CrossValidation:
    """Fit a candidate once for each fold of the rows, to all others, with one thread."""
    fold = folds(rows, folds_count)
    predicted = np.empty(len(rows), dtype=np.int64)
    rounds = 0
    for number in range(folds_count):
        left_out = fold == number
        estimator = fit(candidate, rows.take(~left_out), threads=1, early_stopping=True)
        predicted[left_out] = estimator.predict(derive(rows.features[left_out]))
        rounds = max(rounds, getattr(estimator, "n_iter_", 0))
    if rounds:
        candidate = replace(candidate, params={**candidate.params, "max_iter": rounds})
    return CrossValidation(predicted, estimator, rows.take(left_out), candidate)


def _estimator(candidate: Candidate, threads: int, early_stopping: bool) -> Estimator:
    match candidate.family:
        case "extra_trees":
            return ExtraTreesClassifier(**candidate.params, n_jobs=threads, random_state=SEED)
        case "random_forest":
            return RandomForestClassifier(**candidate.params, n_jobs=threads, random_state=SEED)
        case "hist_gradient_boosting":
            stopping = _EARLY_STOPPING if early_stopping else {"early_stopping": False}
            return HistGradientBoostingClassifier(**candidate.params, **stopping, random_state=SEED)
