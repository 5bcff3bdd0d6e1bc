"""Reads the raw results: for each point a record (JSON) and a table (CSV)."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from load_test.settings import WAIT_SECONDS

CLOSED, OPEN = "closed", "open"
BUDGET, LONG_PERIOD, LIMITED_GENERATOR = "budget", "long-period", "limited-generator"

# From here on, it is not the API that a point measures.
_BUSY_PROCESS = 0.9
_BUSY_HOST = 0.97
_LATE_MILLISECONDS = 10.0
_HELD_BACK = 0.05

_REPLICA = "inference-api-"
_BALANCER = "nginx"
_GENERATOR = "locust"
_PLAN_FILE = "study.json"
_PREDICT, _ALL = "/predict", "Aggregated"
# A client lists the models, selects one, and predicts.
_REQUESTS_PER_ROUND = 3
# What Locust writes where nothing was counted.
_NOTHING = "N/A"


class ResultsError(Exception):
    """The folder has no results, or one of its files is not what the study writes."""


@dataclass(frozen=True, order=True)
class Case:
    """What is measured several times.

    Attributes:
        setup: the name of the set-up.
        kind: `closed` or `open`.
        replicas: their number.
        load: clients, or requests in a second.
    """

    setup: str
    kind: str
    replicas: int
    load: int


@dataclass(frozen=True)
class Result:
    """One measured point.

    Attributes:
        case: what was measured.
        repetition: which measurement of the same it is.
        rate: requests that were answered rightly in a second.
        due_rate: requests in a second that so many clients must make who wait as long as these do
            and for their answers, or that were to be sent.
        asked: requests in all.
        refused: those that were told to come later (503).
        failed: those that got no answer or a wrong one.
        p50: milliseconds in which half of the predictions were answered.
        p95: the same of 95 %.
        p99: the same of 99 %.
        longest: milliseconds of the slowest.
        inference_cpus: processors that all replicas used.
        held_back: share of the time that a replica was held back for having used up its share.
        memory: bytes that all replicas held at the end.
        balancer_cpus: processors that nginx used.
        generator_cpus: processors that what made the load used.
        host_busy: share of the host's processors that was in use, by whatever.
        limits: what else than the API was at its limit: `generator`, `host`, `nginx`.
    """

    case: Case
    repetition: int
    rate: float
    due_rate: float
    asked: int
    refused: int
    failed: int
    p50: float
    p95: float
    p99: float
    longest: float
    inference_cpus: float
    held_back: float
    memory: float
    balancer_cpus: float
    generator_cpus: float
    host_busy: float
    limits: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """All results.

    Attributes:
        conditions: where and with what they were measured.
        plan: what was planned.
        results: the points, sorted.
    """

    conditions: Mapping[str, Any]
    plan: Mapping[str, Any]
    results: tuple[Result, ...]


def read_study(folder: Path) -> Study:
    """Read a folder of results.

    Raises:
        ResultsError: there are none, or a file is not as it should be.
    """
    try:
        described = json.loads((folder / _PLAN_FILE).read_text())
        files = sorted(path for path in folder.glob("*.json") if path.name != _PLAN_FILE)
        results = []
        for path in files:
            record = json.loads(path.read_text())
            table = path.with_suffix(".csv").read_text()
            try:
                results.append(_result(record, table, described["plan"]))
            except (KeyError, ValueError, TypeError, IndexError) as error:
                raise ResultsError(f"{path} is not what the study writes: {error!r}") from error
    except (OSError, ValueError) as error:
        raise ResultsError(f"{folder} has no results of a study: {error}") from error
    if not results:
        raise ResultsError(f"{folder} has no finished point yet")
    ordered = sorted(results, key=lambda result: (result.case, result.repetition))
    return Study(described["conditions"], described["plan"], tuple(ordered))


def _result(record: Mapping[str, Any], table: str, plan: Mapping[str, Any]) -> Result:
    point = record["point"]
    case = Case(point["setup"], point["kind"], point["replicas"], point["load"])
    is_closed = case.kind == CLOSED
    measured = _closed(table, case.load) if is_closed else _open(record, table, plan)
    window = record["window_seconds"]
    containers: Mapping[str, Any] = record["containers"]
    replicas = [used for name, used in containers.items() if name.startswith(_REPLICA)]
    generator = [used for name, used in containers.items() if name.startswith(_GENERATOR)]
    return Result(
        case=case,
        repetition=point["repetition"],
        **measured,
        inference_cpus=_sum(replicas, "processor_seconds") / window,
        held_back=_sum(replicas, "throttled_seconds") / window / len(replicas),
        memory=_sum(replicas, "memory"),
        balancer_cpus=containers[_BALANCER]["processor_seconds"] / window,
        generator_cpus=_sum(generator, "processor_seconds") / window,
        host_busy=record["host_busy"],
        limits=_limits(case, record, generator, plan),
    )


def _closed(table: str, clients: int) -> dict[str, Any]:
    rows = {row["Name"]: row for row in csv.DictReader(table.splitlines())}
    # Where no client got as far as to predict, there is no such row.
    predictions, everything = rows.get(_PREDICT, {}), rows[_ALL]
    asked, failed = int(everything["Request Count"]), int(everything["Failure Count"])
    return {
        "rate": float(everything["Requests/s"]) - float(everything["Failures/s"]),
        "due_rate": clients * _REQUESTS_PER_ROUND / _round_seconds(everything),
        "asked": asked,
        # Locust counts a refusal among the failures.
        "refused": 0,
        "failed": failed,
        "p50": _milliseconds(predictions.get("50%", _NOTHING)),
        "p95": _milliseconds(predictions.get("95%", _NOTHING)),
        "p99": _milliseconds(predictions.get("99%", _NOTHING)),
        "longest": _milliseconds(predictions.get("100%", _NOTHING)),
    }


def _round_seconds(everything: Mapping[str, str]) -> float:
    """How long a client takes for its requests and the waiting after them, in the mean."""
    answering = _REQUESTS_PER_ROUND * float(everything["Average Response Time"]) / 1000
    return sum(WAIT_SECONDS) / 2 + answering


def _milliseconds(cell: str) -> float:
    return float("nan") if cell == _NOTHING else float(cell)


def _open(record: Mapping[str, Any], table: str, plan: Mapping[str, Any]) -> dict[str, Any]:
    outcome = record["outcome"]
    _, *lines = csv.reader(table.splitlines())
    buckets = [(float(milliseconds), int(number)) for milliseconds, number in lines]
    answered = sum(number for _, number in buckets)
    refused = outcome["ended"].get("503", 0)
    return {
        "rate": answered / plan["open_seconds"],
        "due_rate": outcome["due"] / plan["open_seconds"],
        "asked": outcome["due"],
        "refused": refused,
        "failed": outcome["due"] - answered - refused,
        "p50": percentile(buckets, 50),
        "p95": percentile(buckets, 95),
        "p99": percentile(buckets, 99),
        "longest": percentile(buckets, 100),
    }


def percentile(buckets: Sequence[tuple[float, int]], percent: float) -> float:
    """The end of the bucket up to which so many percent lie; not a number where there are none."""
    total = sum(number for _, number in buckets)
    seen = 0
    for end, number in buckets:
        seen += number
        if seen >= total * percent / 100 and seen:
            return end
    return float("nan")


def _limits(
    case: Case,
    record: Mapping[str, Any],
    generator: Sequence[Mapping[str, Any]],
    plan: Mapping[str, Any],
) -> tuple[str, ...]:
    window = record["window_seconds"]
    if case.kind == CLOSED:
        shares = [used["processor_seconds"] / window for used in generator]
        late = False
    else:
        outcome = record["outcome"]
        shares = [used / plan["open_seconds"] for used in outcome["processor_seconds"]]
        late = percentile(outcome["lateness"], 99) > _LATE_MILLISECONDS
    held_back = max(used["throttled_seconds"] / window for used in generator) > _HELD_BACK
    found = []
    if late or held_back or max(shares) >= _BUSY_PROCESS:
        found.append("generator")
    if record["host_busy"] >= _BUSY_HOST:
        found.append("host")
    balancer = record["containers"][_BALANCER]
    share = balancer["quota_us"] / balancer["period_us"]
    if balancer["processor_seconds"] / window >= _BUSY_PROCESS * share:
        found.append("nginx")
    return tuple(found)


def _sum(containers: Iterable[Mapping[str, Any]], name: str) -> float:
    return float(sum(used[name] for used in containers))
