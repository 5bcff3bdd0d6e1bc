"""What can be fitted: a family of estimators with its hyper-parameters, and how it did."""

from dataclasses import dataclass
from typing import Any, Literal

Family = Literal["extra_trees", "random_forest", "hist_gradient_boosting"]


@dataclass(frozen=True)
class Candidate:
    """One model to fit.

    Attributes:
        name: How its run is called in MLflow; unique in a search.
        family: Which estimator.
        params: Its hyper-parameters, in scikit-learn's words.
    """

    name: str
    family: Family
    params: dict[str, Any]


@dataclass(frozen=True)
class Score:
    """How a candidate did in cross-validation.

    Attributes:
        candidate: Its name.
        family: Its family.
        params: Its hyper-parameters; boosting's rounds are those that early stopping found.
        accuracy: In 0..1, of the rows that were left out of each fit.
        macro_f1: In 0..1, of the same.
        row_microseconds: Median time that ONNX Runtime takes for one row.
        refusal: Why it cannot be served; empty if it can.
    """

    candidate: str
    family: Family
    params: dict[str, Any]
    accuracy: float
    macro_f1: float
    row_microseconds: float
    refusal: str = ""

    @property
    def objective(self) -> float:
        """What the search maximises: the mean of both figures, so that neither is bought dearly."""
        return (self.accuracy + self.macro_f1) / 2
