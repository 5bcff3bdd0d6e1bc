"""Makes the files of a study out of a few numbers, in the form that the study writes."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

COLUMNS = (
    "Type,Name,Request Count,Failure Count,Median Response Time,Average Response Time,"
    "Min Response Time,Max Response Time,Average Content Size,Requests/s,Failures/s,50%,66%,75%,"
    "80%,90%,95%,98%,99%,99.9%,99.99%,100%"
)
ANSWER_MS = 5
CONDITIONS = {
    "processor": "Made Up",
    "cores": 2,
    "memory_bytes": 16 * 2**30,
    "kernel": "6.1",
    "cgroup_version": 1,
    "same_host": True,
    "generator_processes": 2,
    "model": "modelo1 version 3",
}
PLAN = {"closed_seconds": 15, "open_seconds": 10, "seed": 6}


def used(processor_seconds: float = 1.0, throttled_seconds: float = 0.0) -> dict[str, Any]:
    """What a container used in a window of ten seconds."""
    return {
        "quota_us": 10_000,
        "period_us": 10_000,
        "memory": 100 * 2**20,
        "processor_seconds": processor_seconds,
        "throttled_seconds": throttled_seconds,
    }


class MadeStudy:
    """A folder of results."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        described = {"plan": PLAN, "conditions": CONDITIONS}
        (folder / "study.json").write_text(json.dumps(described))

    def closed(
        self,
        setup: str,
        replicas: int,
        clients: int,
        rates: Sequence[float],
        p99: float = 20,
        failures: int = 0,
        worker_seconds: float = 5.0,
        balancer_seconds: float = 3.0,
    ) -> None:
        """Add one point for each rate."""
        for repetition, rate in enumerate(rates, start=1):
            asked = round(rate * 15)
            percentiles = f"4,5,6,7,8,{p99 / 2},{p99 / 2},{p99},{p99},{p99},{p99 * 2}"
            row = f"0,{ANSWER_MS},0,0,0,{rate},0,{percentiles}"
            table = (
                f"{COLUMNS}\nPOST,/predict,{asked // 3},{failures},{row}\n"
                f",Aggregated,{asked},{failures},{row}\n"
            )
            containers = {
                "locust": used(),
                "locust-worker-1": used(worker_seconds),
                "nginx": used(balancer_seconds),
            }
            self._add(setup, replicas, "closed", clients, repetition, containers, {}, table)

    def open(
        self,
        setup: str,
        replicas: int,
        rate: int,
        answered: Sequence[int],
        p99: float = 20,
        late: float = 1.0,
        host_busy: float = 0.5,
    ) -> None:
        """Add one point for each number of answers; what is not answered is refused."""
        for repetition, answers in enumerate(answered, start=1):
            slow = answers // 50
            table = f"milliseconds at most,answers\n2.0,{answers - slow}\n{p99},{slow}\n"
            due = rate * 10
            outcome = {
                "due": due,
                "ended": {"200": answers, "503": due - answers},
                "lateness": [[late, due]],
                "processor_seconds": [4.0, 4.0],
            }
            containers = {"locust": used(), "nginx": used(3.0)}
            self._add(
                setup, replicas, "open", rate, repetition, containers, outcome, table, host_busy
            )

    def _add(
        self,
        setup: str,
        replicas: int,
        kind: str,
        load: int,
        repetition: int,
        containers: dict[str, Any],
        outcome: dict[str, Any],
        table: str,
        host_busy: float = 0.5,
    ) -> None:
        for number in range(1, replicas + 1):
            containers[f"inference-api-{number}"] = used(2.0, throttled_seconds=2.5)
        record = {
            "point": {
                "setup": setup,
                "replicas": replicas,
                "kind": kind,
                "load": load,
                "repetition": repetition,
            },
            "window_seconds": 10.0,
            "host_busy": host_busy,
            "containers": containers,
            "outcome": outcome,
        }
        name = f"{setup}-{replicas}x-{kind}-{load:05d}-{repetition}"
        (self.folder / f"{name}.json").write_text(json.dumps(record))
        (self.folder / f"{name}.csv").write_text(table)
