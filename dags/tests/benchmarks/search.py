"""Measures a whole search: `python -m tests.benchmarks.search CSV [--fraction F] [--workers N]`.

Run in `dags/`. Does what the DAG `Procesa_data` does, without Airflow and MLflow, with worker
processes of its own, and prints how long each rung takes and how good the result is on held-out
rows: those of the load, and all others of the file that the load does not have.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from covertype import search
from covertype.candidates import Candidate, Score
from covertype.dataset import Rows, Split, encode, split, stratified_share
from covertype.evaluation import ACCURACY, MACRO_F1, evaluate
from covertype.export import export, open_session, predict
from covertype.plan import plan_for
from covertype.schema import BATCHES
from covertype.scoring import cross_validated
from covertype.store import BATCH_COLUMN
from covertype.training import available_cpus, fit

_rows: dict[bool, Rows] = {}


def main() -> None:
    """Search and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("csv", type=Path, help="the whole data set")
    parser.add_argument("--fraction", type=float, default=0.1, help="of each batch, as loaded")
    parser.add_argument("--workers", type=int, default=2, help="worker processes")
    parser.add_argument("--seed", type=int, default=1, help="of the draw of the load")
    options = parser.parse_args()

    loaded, others = _draw(options.csv, options.fraction, options.seed)
    parts = split(loaded)
    plan = plan_for(len(parts.fit))
    print(f"{len(loaded)} rows loaded, {len(parts.test)} of them held out")
    began = time.perf_counter()
    # Made before the workers, which are copies of this process.
    _rows.update({False: stratified_share(parts.fit, plan.first_share), True: parts.fit})
    with ProcessPoolExecutor(options.workers) as workers:
        with _timed(f"first rung, {len(_rows[False])} rows"):
            first = _score(workers.map, search.sample(plan), False, plan.folds)
        with _timed(f"second rung, {len(_rows[True])} rows"):
            final = _score(workers.map, search.select(plan, first), True, plan.folds)
    _fit_best(search.rank(final)[0], parts, others)
    print(f"all: {time.perf_counter() - began:.1f} s with {options.workers} workers")


def _draw(csv: Path, fraction: float, seed: int) -> tuple[Rows, Rows]:
    """A load as the data API would give it, and the rows that it leaves out."""
    frame = pd.read_csv(csv)
    slices = np.array_split(np.arange(len(frame)), len(BATCHES))
    frame[BATCH_COLUMN] = np.concatenate(
        [np.full(len(part), batch) for batch, part in zip(BATCHES, slices, strict=True)]
    )
    random = np.random.default_rng(seed)
    drawn = np.zeros(len(frame), dtype=bool)
    for part in slices:
        drawn[random.choice(part, int(len(part) * fraction + 1e-6), replace=False)] = True
    whole = encode(frame)
    if drawn.all():
        return whole, whole.take(np.zeros(len(whole), dtype=bool))
    return encode(frame[drawn]), encode(frame[~drawn])


def _score(
    run: Callable[..., Iterator[Score]], candidates: list[Candidate], final: bool, folds: int
) -> list[Score]:
    return list(run(partial(_score_one, final=final, folds=folds), candidates))


def _score_one(candidate: Candidate, final: bool, folds: int) -> Score:
    score, figures = cross_validated(candidate, _rows[final], folds)
    print(
        f"  {score.candidate:<28} accuracy {score.accuracy:.4f} macro-F1 {score.macro_f1:.4f} "
        f"fit {figures['fit_seconds']:.1f} s, {score.row_microseconds:.0f} us/row "
        f"{score.params} {score.refusal}",
        flush=True,
    )
    return score


def _fit_best(score: Score, parts: Split, others: Rows) -> None:
    candidate = Candidate(score.candidate, score.family, score.params)
    with _timed(f"final fit of {candidate.name}"):
        estimator = fit(candidate, parts.fit, threads=available_cpus())
    with _timed("export and check"):
        model = export(estimator, parts.test.features)
    print(f"  {model.figures()}")
    session = open_session(model.content)
    for name, rows in (("held-out rows of the load", parts.test), ("rows never loaded", others)):
        if len(rows):
            figures = evaluate(rows.labels, predict(session, rows.features))
            print(
                f"  {len(rows)} {name}: accuracy {figures[ACCURACY]:.4f}, "
                f"macro-F1 {figures[MACRO_F1]:.4f}"
            )


@contextmanager
def _timed(title: str) -> Iterator[None]:
    began = time.perf_counter()
    print(f"{title} ...", flush=True)
    yield
    print(f"{title}: {time.perf_counter() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main()
