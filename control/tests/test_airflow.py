"""The client and the pipeline against a server that answers as Airflow 3.3 does."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import pytest

from control.airflow import Airflow
from control.errors import ControlError, Interrupted
from control.pipeline import DAG_ID, Pipeline
from control.rest import UnreachableError
from control.tests.conftest import FakeServer, Screen

RUN_ID = "manual__2026-11-24T10:00:00+00:00"


def task(name: str, state: str | None, index: int = -1, seconds: float | None = None) -> object:
    return {
        "task_id": name,
        "map_index": index,
        "state": state,
        "try_number": 2,
        "duration": seconds,
    }


@dataclass
class FakeAirflow:
    """One DAG and one run, which moves on by a moment each time its state is asked."""

    moments: Sequence[tuple[str, list[object]]]
    listed: bool = True
    paused: bool = False
    running: bool = False
    tokens_expire: int = 0
    log: list[object] = field(default_factory=list)
    now: int = -1

    def __call__(self, method: str, path: str, body: object) -> tuple[int, object]:
        parts = urlsplit(path)
        query = parse_qs(parts.query)
        if parts.path == "/auth/token":
            right = body == {"username": "admin", "password": "right"}
            return (201, {"access_token": "t"}) if right else (401, {"detail": "Invalid"})
        if self.tokens_expire:
            self.tokens_expire -= 1
            return 401, {"detail": "expired"}
        dag = f"/api/v2/dags/{DAG_ID}"
        run = f"{dag}/dagRuns/manual__2026-11-24T10%3A00%3A00%2B00%3A00"
        moment = self.moments[min(max(self.now, 0), len(self.moments) - 1)]
        match method, parts.path.removeprefix(run), parts.path.removeprefix(dag):
            case "GET", _, "":
                found = {"dag_id": DAG_ID, "is_paused": self.paused}
                return (200, found) if self.listed else (404, {"detail": "not found"})
            case "PATCH", _, "":
                self.paused = bool(isinstance(body, dict) and body["is_paused"])
                return 200, {}
            case "GET", _, "/dagRuns":
                assert query["state"] == ["running", "queued"]
                return 200, {"dag_runs": [{"dag_run_id": RUN_ID}] if self.running else []}
            case "POST", _, "/dagRuns":
                assert body == {"logical_date": None}
                return 200, {"dag_run_id": RUN_ID}
            case "GET", "", _:
                self.now += 1
                return 200, {"state": self.moments[min(self.now, len(self.moments) - 1)][0]}
            case "GET", "/taskInstances", _:
                begin, limit = int(query["offset"][0]), int(query["limit"][0])
                page = moment[1][begin : begin + limit]
                return 200, {"task_instances": page, "total_entries": len(moment[1])}
            case "GET", "/taskInstances/load.fetch%2Frows/logs/2", _:
                assert query == {"map_index": ["3"], "full_content": ["true"]}
                return 200, {"content": self.log}
        if parts.path == "/api/v2/importErrors":
            error = {"filename": "Flujo.py", "stack_trace": "Traceback\n  x\nSyntaxError: no\n"}
            return 200, {"import_errors": [error]}
        return 500, {"detail": f"unexpected {method} {path}"}


class Clock:
    """Time that passes only while the pipeline sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def pipeline(server: FakeServer, screen: Screen) -> Pipeline:
    clock = Clock()
    airflow = Airflow(server.url, "admin", "right")
    return Pipeline(airflow, screen, clock=clock, sleep=clock.sleep)


def test_run_is_started_followed_and_shown(server: FakeServer, screen: Screen) -> None:
    server.answer = FakeAirflow(
        [
            ("queued", [task("clear", None), task("load", None, 0)]),
            ("running", [task("clear", "running"), task("load", "scheduled", 0)]),
            ("running", [task("clear", "success", -1, 1.5), task("load", "queued", 0)]),
            ("running", [task("clear", "success", -1, 1.5), task("load", "up_for_retry", 0)]),
            ("success", [task("clear", "success", -1, 1.5), task("load", "success", 0, 75)]),
        ],
        paused=True,
    )
    pipeline(server, screen).run()
    lines = [" ".join(line.split()) for line in screen.text.splitlines()]
    assert lines == [
        f"started {DAG_ID}: {RUN_ID}",
        "0:02 clear running",
        "0:04 clear success (1.5 s)",
        "0:06 load[0] up_for_retry",
        "0:08 load[0] success (1 min 15 s)",
        f"{DAG_ID} succeeded after 8.0 s",
    ]
    assert ("PATCH", f"/api/v2/dags/{DAG_ID}", {"is_paused": False}) in server.requests
    assert server.tokens[-1] == "Bearer t"


def test_run_that_is_under_way_is_followed(server: FakeServer, screen: Screen) -> None:
    server.answer = FakeAirflow([("success", [])], running=True)
    pipeline(server, screen).run()
    assert f"following {RUN_ID}" in screen.text
    assert not [path for method, path, _ in server.requests if method == "POST" and "dags" in path]


def test_failed_task_is_named_with_the_end_of_its_log(server: FakeServer, screen: Screen) -> None:
    failed = task("load.fetch/rows", "failed", 3)
    log: list[object] = [{"event": f"line {number}"} for number in range(50)]
    log += ["plain", {"event": "::endgroup::"}]
    log += [
        {
            "event": "Task failed with exception",
            "error_detail": [{"exc_type": "SourceError", "exc_value": "restart the source"}],
        }
    ]
    server.answer = FakeAirflow([("failed", [failed, task("train", "upstream_failed")])], log=log)
    with pytest.raises(ControlError) as error:
        pipeline(server, screen).run()
    message = str(error.value)
    assert message.startswith(f"{DAG_ID} failed in load.fetch/rows[3].")
    assert "SourceError: restart the source" in message
    assert "line 49" in message
    assert "line 30\n" not in message
    assert "endgroup" not in message


def test_all_pages_of_tasks_are_read(server: FakeServer) -> None:
    many = [task("candidate", "success", index) for index in range(250)]
    server.answer = FakeAirflow([("running", many)])
    airflow = Airflow(server.url, "admin", "right")
    found = airflow.task_instances(DAG_ID, RUN_ID)
    assert [instance.map_index for instance in found] == list(range(250))


def test_expired_token_is_renewed(server: FakeServer) -> None:
    fake = FakeAirflow([("running", [])])
    server.answer = fake
    airflow = Airflow(server.url, "admin", "right")
    airflow.dag(DAG_ID)
    fake.tokens_expire = 1
    assert airflow.dag(DAG_ID)


def test_wrong_password_says_where_it_may_come_from(server: FakeServer) -> None:
    server.answer = FakeAirflow([])
    with pytest.raises(ControlError, match="refuses the login of admin"):
        Airflow(server.url, "admin", "wrong").dag(DAG_ID)


def test_dag_that_is_not_listed(server: FakeServer, screen: Screen) -> None:
    server.answer = FakeAirflow([("queued", [])], listed=False)
    with pytest.raises(ControlError, match=r"(?s)does not list.*Flujo\.py: SyntaxError: no"):
        pipeline(server, screen).run()


@pytest.mark.parametrize(
    ("tasks", "hints"), [([], 1), ([task("wait", "up_for_reschedule")], 0)], ids=["stuck", "waits"]
)
def test_stuck_run_gets_a_hint_and_ends_at_last(
    server: FakeServer, screen: Screen, tasks: list[object], hints: int
) -> None:
    server.answer = FakeAirflow([("running", tasks)])
    clock = Clock()
    this = Pipeline(
        Airflow(server.url, "admin", "right"), screen, clock=clock, sleep=lambda _: clock.sleep(40)
    )
    with pytest.raises(ControlError, match="has not ended after 60 min 00 s"):
        this.run()
    assert screen.text.count("no task has started for") == hints


def test_server_may_be_away_for_a_moment(server: FakeServer, screen: Screen) -> None:
    """Connections break off twice, and then for good."""
    fake = FakeAirflow([("running", [])] * 3 + [("success", [])])
    broken = iter([True, False, True] + [False] * 50)

    def answer(method: str, path: str, body: object) -> tuple[int, object]:
        if path.endswith("%2B00%3A00") and next(broken):
            raise ConnectionAbortedError
        return fake(method, path, body)

    server.answer = answer
    pipeline(server, screen).run()
    assert "succeeded" in screen.text

    broken = iter([True] * 1000)
    with pytest.raises(UnreachableError, match="broke off"):
        pipeline(server, screen).run()


def test_interrupt_leaves_the_run_and_says_so(server: FakeServer, screen: Screen) -> None:
    server.answer = FakeAirflow([("running", [])])

    def interrupt(_: float) -> None:
        raise Interrupted

    this = Pipeline(Airflow(server.url, "admin", "right"), screen, sleep=interrupt)
    with pytest.raises(Interrupted):
        this.run()
    assert "goes on in Airflow" in screen.text
