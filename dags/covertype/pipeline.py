"""The steps of the pipeline after loading: train the baseline, search, register.

Each reads its rows from Postgres and leaves its result in MLflow, so the steps can run on
different workers and pass on nothing but scores and version numbers. Each can be run again: it
goes on with the run in MLflow that its earlier try began, and keeps a version that is registered
already.
"""

import logging
from collections.abc import Sequence

from covertype import search
from covertype.candidates import Candidate, Score
from covertype.dataset import encode, split
from covertype.errors import PipelineError
from covertype.plan import baseline_for, plan_for
from covertype.registration import UnservableError, fit_and_register
from covertype.registry import Registry
from covertype.scoring import search_key
from covertype.store import CovertypeStore

_log = logging.getLogger(__name__)


def train_baseline(run: str, store: CovertypeStore, registry: Registry) -> int:
    """Fit the baseline, evaluate it on the held-out rows and register it.

    Args:
        run: The run of the DAG that this belongs to.
        store: Where the rows are.
        registry: Where the run and the version are recorded.

    Returns:
        The version's number.
    """
    with registry.run(f"{run}/baseline", "baseline") as run_id:
        version = registry.version_of(run_id)
        if version is None:
            rows = encode(store.read())
            candidate = baseline_for(len(split(rows).fit))
            version = fit_and_register(candidate, (), run_id, rows, registry)
    return version


def start_search(run: str, store: CovertypeStore, registry: Registry) -> list[Candidate]:
    """Open the run that the candidates belong to, and sample them.

    Args:
        run: The run of the DAG that this belongs to.
        store: Where the rows are.
        registry: Where the search is recorded.
    """
    plan = plan_for(len(split(encode(store.read())).fit))
    registry.open_run(search_key(run), "search")
    return search.sample(plan)


def select_candidates(scores: Sequence[Score], store: CovertypeStore) -> list[Candidate]:
    """The candidates of the second rung.

    Args:
        scores: Of the first rung.
        store: Where the rows are.
    """
    return search.select(plan_for(len(split(encode(store.read())).fit)), scores)


def register_best(
    first: Sequence[Score],
    final: Sequence[Score],
    run: str,
    store: CovertypeStore,
    registry: Registry,
) -> int:
    """Fit the best candidate to all but the held-out rows, evaluate it and register it.

    One that cannot be served once it is fitted to all rows (too large, or its conversion differs)
    is out, and the next best takes its place.

    The held-out rows are used here for the first time, so its figures are of rows that no step
    of the search saw.

    Args:
        first: The scores of the first rung.
        final: Those of the second.
        run: The run of the DAG that this belongs to.
        store: Where the rows are.
        registry: Where the search and the version are recorded.

    Returns:
        The version's number.

    Raises:
        PipelineError: None of the candidates can be served.
    """
    reasons = []
    with registry.run(search_key(run), "search") as run_id:
        version = registry.version_of(run_id)
        if version is not None:
            return version
        rows = encode(store.read())
        for score in search.rank(final):
            candidate = Candidate(score.candidate, score.family, score.params)
            try:
                return fit_and_register(candidate, (*first, *final), run_id, rows, registry)
            except UnservableError as error:
                _log.warning("Candidate %s is out: %s", candidate.name, error)
                reasons.append(f"{candidate.name}: {error}")
        raise PipelineError(f"None of the candidates can be served. {'; '.join(reasons)}")


def fail_search(run: str, registry: Registry) -> bool:
    """Mark a search that came to nothing as failed in MLflow; tells whether it had begun."""
    return registry.fail_run(search_key(run))
