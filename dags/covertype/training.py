"""Fitting a candidate."""

import os
from typing import Any

from sklearn.ensemble import (  # type: ignore[import-untyped]
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from covertype.candidates import Candidate
from covertype.dataset import Rows
from covertype.features import derive

SEED = 20250330

Estimator = Any
"""A fitted scikit-learn classifier of one of the families; scikit-learn has no types."""


def available_cpus() -> int:
    """How many processors this process may run on."""
    return len(os.sched_getaffinity(0))


def fit(candidate: Candidate, rows: Rows, threads: int) -> Estimator:
    """Fit a candidate to rows; the same rows and seed give the same model for any ``threads``.

    Args:
        candidate: What to fit.
        rows: What to fit it to.
        threads: How many threads a forest may use: one where candidates share the machine.
    """
    features = derive(rows.features)
    # Boosting's OpenMP threads wait for each other by spinning: where another process has one of
    # the two cores, two threads took thirty times as long as one.
    with threadpool_limits(limits=1):
        return _estimator(candidate, threads).fit(features, rows.labels)


def _estimator(candidate: Candidate, threads: int) -> Estimator:
    match candidate.family:
        case "extra_trees":
            return ExtraTreesClassifier(**candidate.params, n_jobs=threads, random_state=SEED)
        case "random_forest":
            return RandomForestClassifier(**candidate.params, n_jobs=threads, random_state=SEED)
        case "hist_gradient_boosting":
            return HistGradientBoostingClassifier(
                **candidate.params, early_stopping=False, random_state=SEED
            )
