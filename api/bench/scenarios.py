"""The scenarios: each takes minutes and gives records for a file of raw results."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.cgroups import run_in_group
from bench.paths import API, Folder
from bench.targets import (
    OTHER_CPU,
    Running,
    bare_loop,
    call_ways,
    running,
    targets,
    variants,
)

Record = dict[str, Any]

CPUS = 0.5
BARE_LOOP = "bare loop over the model"
BATCHES = (1, 10, 100, 1000)
LOAD = 0.7
_CONNECTIONS = 64
_MANY_CONNECTIONS = 2000
_IDEAS_CONNECTIONS = 32
_SECONDS = 5.0
_WARM_UP_SECONDS = 1.0


def throughput(folder: Folder, work: Path, replicas: int, rounds: int) -> Iterator[Record]:
    """Compare the service with its peers, one row a request, and take its latency under load.

    In each round every target has its turn: with clients that send their next request once they
    have an answer, for the capacity; then the service alone at a share of its capacity, with
    requests that are due at random times.
    """
    with ExitStack() as stack:
        started = [
            stack.enter_context(running(target, number, replicas, CPUS, folder, work))
            for number, target in enumerate(targets(folder))
        ]
        service = started[0]
        capacities: list[float] = []
        for number in range(rounds):
            base = {"replicas": replicas, "round": number}
            loop = bare_loop(CPUS, _SECONDS, folder, work)
            yield {**base, "scenario": "throughput", "target": BARE_LOOP, "per_second": loop}
            for one in started:
                found = _load(one, _CONNECTIONS * replicas, None, _SECONDS)
                yield {**base, "scenario": "throughput", "target": one.target.name, **found}
                if one is service:
                    capacities.append(found["per_second"])
            rate = LOAD * statistics.median(capacities)
            found = _load(service, _CONNECTIONS * replicas, rate, _SECONDS)
            yield {
                **base,
                "scenario": "latency",
                "target": service.target.name,
                "rate": rate,
            } | found


def batches(folder: Folder, work: Path, rounds: int) -> Iterator[Record]:
    """Measure the service's rows a second for lists of rows."""
    with running(targets(folder)[0], 0, 1, CPUS, folder, work) as service:
        for number in range(rounds):
            for rows in BATCHES:
                found = _load(service, 16, None, _SECONDS, folder.bodies(rows))
                record = {"scenario": "batches", "replicas": 1, "round": number, "rows": rows}
                yield record | {"rows_per_second": found["per_second"] * rows} | found


def overload(folder: Folder, work: Path, replicas: int, seconds: float) -> Iterator[Record]:
    """Send the service twice what it can answer."""
    with running(targets(folder)[0], 0, replicas, CPUS, folder, work) as service:
        capacity = _load(service, _CONNECTIONS * replicas, None, _SECONDS)["per_second"]
        before = service.memory_bytes()
        found = _load(service, _MANY_CONNECTIONS, 2 * capacity, seconds)
        yield {
            "scenario": "overload",
            "replicas": replicas,
            "capacity": capacity,
            "goodput_share": found["per_second"] / capacity,
            "memory_before": before,
            "memory_after": service.memory_bytes(),
            **found,
        }


def ideas(folder: Folder, work: Path, rounds: int) -> Iterator[Record]:
    """Compare what was tried, by the CPU time of an answer, without a limit and without nginx."""
    for huge_pages in (False, True):
        for line in call_ways(folder, work, rounds, huge_pages).splitlines():
            record = json.loads(line)
            if huge_pages:
                record["way"] += ", huge pages"
            yield {"scenario": "calls", **record}
    with ExitStack() as stack:
        started = [
            stack.enter_context(running(target, number, 1, None, folder, work))
            for number, target in enumerate(variants(folder))
        ]
        for number in range(rounds):
            for one in started:
                before = one.cpu_seconds()
                found = _load(one, _IDEAS_CONNECTIONS, None, _SECONDS, direct=True)
                # What was answered while warming up is in the CPU time, and counted alike.
                answers = found["per_second"] * (found["seconds"] + _WARM_UP_SECONDS)
                microseconds = (one.cpu_seconds() - before) / answers * 1e6
                record = {"scenario": "ways", "round": number, "way": one.target.name}
                yield record | {"microseconds": microseconds} | found


def _load(
    one: Running,
    connections: int,
    rate: float | None,
    seconds: float,
    bodies: Path | None = None,
    direct: bool = False,
) -> Record:
    target = one.target
    command = [
        *(sys.executable, "-m", "bench.load"),
        *("--port", str(one.replica_ports[0] if direct else one.port), "--path", target.path),
        *("--bodies", str(bodies or target.bodies), "--connections", str(connections)),
        *("--warm-up", str(_WARM_UP_SECONDS), "--seconds", str(seconds)),
        *(() if rate is None else ("--rate", str(rate))),
    ]
    own = Path(tempfile.mkdtemp(prefix="bench-generator-"))
    try:
        environment = {**os.environ, "PYTHONPATH": str(API)}
        with run_in_group(command, environment, own, OTHER_CPU, stdout=subprocess.PIPE) as (
            _,
            load,
        ):
            output, _ = load.communicate()
            found: Record = json.loads(output)
            return found
    finally:
        shutil.rmtree(own)
