"""The steps of the pipeline after loading: train the baseline, search, register.

Each reads its rows from Postgres and leaves its result in MLflow, so the steps can run on
different workers and pass on nothing but run ids and version numbers.
"""

import json
import logging
import time
from dataclasses import dataclass

from covertype.candidates import BASELINE, SEARCH_SPACE, Candidate
from covertype.dataset import Rows, Split, encode, split
from covertype.errors import PipelineError
from covertype.evaluation import MACRO_F1, evaluate
from covertype.export import export
from covertype.registry import Registry
from covertype.store import CovertypeStore
from covertype.training import SEED, available_cpus, fit

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Score:
    """How a candidate did.

    Attributes:
        name: The candidate's name.
        macro_f1: On the validation rows; below zero if it cannot be served.
    """

    name: str
    macro_f1: float


def train_baseline(store: CovertypeStore, registry: Registry) -> int:
    """Fit the baseline, evaluate it on the held-out rows and register it.

    Returns:
        The version's number.
    """
    rows = encode(store.read())
    with registry.run(BASELINE.name):
        return _fit_and_register(BASELINE, rows, registry)


def score_candidate(name: str, search_run: str, store: CovertypeStore, registry: Registry) -> Score:
    """Fit one candidate to the training rows and evaluate it on the validation rows.

    Args:
        name: The candidate's name in the search space.
        search_run: The id of the run of the whole search.
        store: Where the rows are.
        registry: Where the candidate's run is recorded.
    """
    candidate = _candidate(name)
    parts = split(encode(store.read()))
    with registry.run(candidate.name, parent=search_run):
        started = time.perf_counter()
        # One thread: the candidates run next to each other, one per worker process.
        estimator = fit(candidate, parts.train, threads=1)
        fit_seconds = time.perf_counter() - started
        try:
            model = export(estimator, parts.validation.features)
        except PipelineError as refusal:
            registry.log({**_params(candidate), "refused": str(refusal)}, {})
            _log.warning("%s is out: %s", candidate.name, refusal)
            return Score(candidate.name, -1.0)
        figures = evaluate(parts.validation.labels, model.predicted)
        registry.log(
            _params(candidate),
            {
                **{f"validation_{name}": value for name, value in figures.items()},
                **model.figures,
                "fit_seconds": fit_seconds,
            },
        )
    _log.info("%s: %s", candidate.name, figures)
    return Score(candidate.name, figures[MACRO_F1])


def register_best(
    scores: list[Score], search_run: str, store: CovertypeStore, registry: Registry
) -> int:
    """Fit the best candidate to training and validation rows, evaluate it and register it.

    One that cannot be served once it is fitted to all rows (too large, or its conversion differs)
    is out, and the next best takes its place.

    The held-out rows are used here for the first time, so its figures are of rows that no step
    of the search saw.

    Returns:
        The version's number.

    Raises:
        PipelineError: None of the candidates can be served.
    """
    servable = [score for score in scores if score.macro_f1 >= 0]
    rows = encode(store.read())
    for score in sorted(servable, key=lambda score: score.macro_f1, reverse=True):
        try:
            with registry.resume(search_run):
                return _fit_and_register(_candidate(score.name), rows, registry)
        except PipelineError as error:
            _log.warning("Candidate %s is out: %s", score.name, error)
    raise PipelineError(
        "None of the candidates can be served: the runs in MLflow say why, in the parameter "
        "'refused', and this task's log."
    )


def _candidate(name: str) -> Candidate:
    return next(candidate for candidate in SEARCH_SPACE if candidate.name == name)


def _fit_and_register(candidate: Candidate, rows: Rows, registry: Registry) -> int:
    parts = split(rows)
    started = time.perf_counter()
    estimator = fit(candidate, parts.fit, threads=available_cpus())
    fit_seconds = time.perf_counter() - started
    model = export(estimator, parts.test.features)
    figures = evaluate(parts.test.labels, model.predicted)
    registry.log(
        {**_params(candidate), **_data_params(rows, parts)},
        {**figures, **model.figures, "fit_seconds": fit_seconds},
    )
    version = registry.register(
        model,
        parts.cuts,
        {"candidate": candidate.name, "data_sha256": rows.fingerprint},
    )
    _log.info("Version %d (%s): %s", version, candidate.name, figures)
    return version


def _params(candidate: Candidate) -> dict[str, object]:
    return {
        "candidate": candidate.name,
        "family": candidate.family,
        "seed": SEED,
        **candidate.params,
    }


def _data_params(rows: Rows, parts: Split) -> dict[str, object]:
    return {
        "data_rows": len(rows),
        "data_sha256": rows.fingerprint,
        "data_rows_per_batch": json.dumps(rows.batch_counts()),
        "fit_rows": len(parts.fit),
        "test_rows": len(parts.test),
    }
