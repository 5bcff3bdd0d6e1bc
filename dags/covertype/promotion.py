"""Which version is in production: the one rule, and its application.

The rule: of the versions that a run of the pipeline has registered, the one with the best
macro-F1 challenges production, and replaces it only if it is better on the same held-out rows,
rows that neither of them was fitted to. Without a version in production it takes the place.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from covertype.dataset import MIN_ROWS, Rows, encode, split, unseen
from covertype.errors import PipelineError
from covertype.evaluation import MACRO_F1, evaluate
from covertype.export import feature_schema, predict
from covertype.registry import Registry, ServedModel
from covertype.store import CovertypeStore

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Decision:
    """The outcome of a challenge.

    Attributes:
        challenger: The best of the new versions.
        promoted: Whether it takes production.
        reason: Why, in a sentence.
    """

    challenger: int
    promoted: bool
    reason: str


def decide(challengers: dict[int, float], production: tuple[int, float] | None) -> Decision:
    """Apply the rule to figures.

    Args:
        challengers: Version to macro-F1, at least one.
        production: The version in production and its macro-F1 on the same rows, if there is one.
    """
    best = max(challengers, key=lambda version: (challengers[version], version))
    figure = challengers[best]
    if production is None:
        return Decision(best, True, f"macro-F1 {figure:.4f}; no version was in production.")
    holder, holder_figure = production
    if figure > holder_figure:
        return Decision(
            best, True, f"macro-F1 {figure:.4f}, better than {holder_figure:.4f} of {holder}."
        )
    return Decision(
        best, False, f"macro-F1 {figure:.4f}, not better than {holder_figure:.4f} of {holder}."
    )


def promote_best(versions: Sequence[int], store: CovertypeStore, registry: Registry) -> Decision:
    """Let the versions challenge production, move the alias if one wins, and record why.

    Args:
        versions: The new versions.
        store: Where the held-out rows come from.
        registry: Where the versions are.

    Raises:
        PipelineError: There are no versions, or nothing to compare them on.
    """
    if not versions:
        raise PipelineError("No version was registered, so there is nothing to promote.")
    holder = registry.production()
    models = {version: registry.fetch(version) for version in {*versions, *_known(holder)}}
    rows = _common_rows(split(encode(store.read())).test, list(models.values()))
    figures = {
        version: evaluate(rows.labels, predict(model.session, rows.features))[MACRO_F1]
        for version, model in models.items()
    }
    # A task that is run again finds its own version in production: it does not challenge itself.
    challengers = {version: figures[version] for version in versions if version != holder}
    if not challengers:
        return Decision(versions[0], False, "It is in production already.")
    decision = decide(challengers, None if holder is None else (holder, figures[holder]))
    if decision.promoted:
        registry.promote(decision.challenger)
    registry.tag(
        decision.challenger,
        {
            "promotion": "promoted" if decision.promoted else "refused",
            "promotion_reason": decision.reason,
            "promotion_rows": str(len(rows)),
        },
    )
    _log.info("Version %d: %s", decision.challenger, decision.reason)
    return decision


def _known(version: int | None) -> tuple[int, ...]:
    return () if version is None else (version,)


def _common_rows(test: Rows, models: Sequence[ServedModel]) -> Rows:
    inputs = feature_schema("")["inputs"]
    allowed = np.ones(len(test), dtype=np.bool_)
    for model in models:
        if model.inputs != inputs:
            raise PipelineError(
                f"Version {model.version} has other inputs than the rows in Postgres, so it cannot "
                "be compared: remove its production alias, then run this task again."
            )
        allowed &= unseen(test, model.cuts)
    rows = test.take(allowed)
    if len(rows) < MIN_ROWS * 0.1:
        raise PipelineError(
            f"Only {len(rows)} rows were held out from all of the versions compared: load more "
            "data (DAG Cargar_datos), then run this task again."
        )
    return rows
