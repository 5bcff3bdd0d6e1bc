"""How large models and a search are, by the number of rows: the one place that scales with it."""

from dataclasses import dataclass

from covertype.candidates import Candidate, Family


@dataclass(frozen=True)
class SearchPlan:
    """How large a search is.

    Attributes:
        families: The family of each candidate of the first rung, in order.
        first_share: Share of the rows, in 0..1, that the first rung uses.
        proposed: How many candidates the sampler adds to the second rung.
        folds: Number of folds of the cross-validation.
        most_leaves: Of a whole model; about 31 bytes of ONNX for each of two nodes.
        most_rounds: Of boosting; early stopping ends it sooner.
        trees: Range of the number of extra-trees.
        whole_trees: Whether a forest's trees may grow until every leaf is pure.
    """

    families: tuple[Family, ...]
    first_share: float
    proposed: int
    folds: int
    most_leaves: int
    most_rounds: int
    trees: tuple[int, int]
    whole_trees: bool

    @property
    def kept(self) -> int:
        """How many candidates of the first rung go on to the second: a third."""
        return max(1, len(self.families) // 3)

    def forest(self, trees: int) -> dict[str, int]:
        """The size of a forest of so many trees, in scikit-learn's words.

        Numbers of trees are odd: an even number lets two classes get the same votes, and
        scikit-learn and ONNX Runtime, which add in other precisions, then break the tie
        differently.
        """
        if self.whole_trees:
            return {"n_estimators": trees}
        return {"n_estimators": trees, "max_leaf_nodes": self.most_leaves // trees}


FAMILIES: tuple[Family, ...] = (
    # The slowest first, so that none of them runs alone at the end.
    *("hist_gradient_boosting", "random_forest", "hist_gradient_boosting", "random_forest"),
    *("extra_trees",) * 5,
)
"""The families of the first rung."""
_WHOLE_TREES_UP_TO = 100_000


def plan_for(rows: int) -> SearchPlan:
    """The search's size for a number of rows.

    Up to 100,000 rows whole trees fit into the serving budget. Beyond, what a model may weigh is
    divided among fewer, pruned trees, and the first rung needs no larger part than before to tell
    good from bad.
    """
    small = rows <= _WHOLE_TREES_UP_TO
    return SearchPlan(
        families=FAMILIES,
        first_share=0.25 if small else 0.05,
        proposed=1,
        folds=3,
        most_leaves=850_000,
        most_rounds=100,
        trees=(49, 65) if small else (25, 35),
        whole_trees=small,
    )


def baseline_for(rows: int) -> Candidate:
    """The model that a search must beat: a plain random forest."""
    plan = plan_for(rows)
    return Candidate("baseline", "random_forest", {"max_features": 0.3, **plan.forest(21)})
