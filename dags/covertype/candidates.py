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
    {"n_estimators": 21, "max_features": 0.4},
)

# Sizes stay inside the serving budget (export.MAX_BYTES) on the 58,100 rows of one load. Numbers of
# trees are odd: an even number lets two classes get the same votes, and scikit-learn and ONNX
# Runtime, which add in other precisions, then break the tie differently.
SEARCH_SPACE = (
    # The slowest first, so that it does not run alone at the end.
    Candidate(
        "boosting-80x127",
        "hist_gradient_boosting",
        # Without L2 some leaves of the rare classes grow without bound and the fit diverges.
        {"max_iter": 80, "max_leaf_nodes": 127, "learning_rate": 0.2, "l2_regularization": 1.0},
    ),
    Candidate("extra-trees-51", "extra_trees", {"n_estimators": 51, "max_features": 0.6}),
    Candidate("extra-trees-41-wide", "extra_trees", {"n_estimators": 41, "max_features": 0.8}),
    Candidate(
        "extra-trees-51-pruned",
        "extra_trees",
        {"n_estimators": 51, "max_features": 0.8, "min_samples_split": 4},
    ),
    Candidate(
        "forest-21",
        "random_forest",
        {"n_estimators": 21, "max_features": 0.6},
    ),
)
