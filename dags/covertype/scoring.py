"""Comparing candidates: the part of the search that runs once for each of them.

Apart from the other steps, so that its tasks, of which there are many, load no more than they
need.
"""

import logging
import time

from covertype.candidates import Candidate, Score
from covertype.dataset import Rows, encode, split, stratified_share
from covertype.errors import PipelineError
from covertype.evaluation import ACCURACY, MACRO_F1, evaluate
from covertype.export import export
from covertype.plan import plan_for
from covertype.registry import Registry
from covertype.store import CovertypeStore
from covertype.training import cross_validate, params_of

_log = logging.getLogger(__name__)


def search_key(run: str) -> str:
    """The key in MLflow of the search that belongs to a run of the DAG."""
    return f"{run}/search"


def score_candidate(
    candidate: Candidate, final: bool, run: str, store: CovertypeStore, registry: Registry
) -> Score:
    """Cross-validate one candidate, and measure what serving it costs.

    Args:
        candidate: The candidate.
        final: Whether on all rows (second rung) or on a share of them (first rung).
        run: The run of the DAG that this belongs to.
        store: Where the rows are.
        registry: Where the candidate's run is recorded; both rungs share it.
    """
    parts = split(encode(store.read()))
    plan = plan_for(len(parts.fit))
    rows = parts.fit if final else stratified_share(parts.fit, plan.first_share)
    key = f"{search_key(run)}/{candidate.name}"
    with registry.run(key, candidate.name, parent_key=search_key(run)):
        score, metrics = cross_validated(candidate, rows, plan.folds)
        registry.log(params_of(candidate), metrics, step=int(final))
        if score.refusal:
            registry.tag_run({"refused": score.refusal})
    _log.info("%s: %s %s", candidate.name, metrics, score.refusal)
    return score


def cross_validated(candidate: Candidate, rows: Rows, folds: int) -> tuple[Score, dict[str, float]]:
    """Cross-validate one candidate, and measure what serving one of its fits costs.

    Args:
        candidate: The candidate.
        rows: What to do it on.
        folds: In how many parts.

    Returns:
        Its score, and all its figures by their names in MLflow.
    """
    started = time.perf_counter()
    validated = cross_validate(candidate, rows, folds)
    fit_seconds = (time.perf_counter() - started) / folds
    figures = evaluate(rows.labels, validated.predicted)
    metrics = {
        **{f"cv_{name}": value for name, value in figures.items()},
        "fit_seconds": fit_seconds,
        "cv_rows": float(len(rows)),
    }
    refusal, row_microseconds = "", 0.0
    try:
        model = export(validated.estimator, validated.left_out.features)
    except PipelineError as error:
        refusal = str(error)
    else:
        metrics |= model.figures()
        row_microseconds = model.cost.row_microseconds
    score = Score(
        candidate.name,
        candidate.family,
        validated.candidate.params,
        figures[ACCURACY],
        figures[MACRO_F1],
        row_microseconds,
        refusal,
    )
    return score, metrics
