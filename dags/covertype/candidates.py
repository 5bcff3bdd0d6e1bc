"""The models that are tried: the baseline and the search space."""

from dataclasses import dataclass, field
from typing import Any, Literal

Family = Literal["extra_trees", "random_forest", "hist_gradient_boosting"]


@dataclass(frozen=True)
class Candidate:
    """One model to fit.

    Attributes:
        name: How the run is called in MLflow.
        family: Which estimator.
        params: Its hyper-parameters, in scikit-learn's words.
    """

    name: str
    family: Family
    params: dict[str, Any] = field(default_factory=dict)


BASELINE = Candidate(
    "baseline",
    "random_forest",
    {"n_estimators": 20, "max_features": 0.4},
)

# Sizes stay inside the serving budget (export.MAX_BYTES) on the 58,100 rows of one load.
SEARCH_SPACE = (
    # The slowest first, so that it does not run alone at the end.
    Candidate(
        "boosting-80x127",
        "hist_gradient_boosting",
        # Without L2 some leaves of the rare classes grow without bound and the fit diverges.
        {"max_iter": 80, "max_leaf_nodes": 127, "learning_rate": 0.2, "l2_regularization": 1.0},
    ),
    Candidate("extra-trees-50", "extra_trees", {"n_estimators": 50, "max_features": 0.6}),
    Candidate("extra-trees-40-wide", "extra_trees", {"n_estimators": 40, "max_features": 0.8}),
    Candidate(
        "extra-trees-50-pruned",
        "extra_trees",
        {"n_estimators": 50, "max_features": 0.8, "min_samples_split": 4},
    ),
    Candidate(
        "forest-20",
        "random_forest",
        {"n_estimators": 20, "max_features": 0.6},
    ),
)
