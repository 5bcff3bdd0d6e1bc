from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from control.errors import ControlError
from control.loadtest import Load, Locust, LostClientsError, Result, parse_load
from control.tests.conftest import FakeServer, Screen

REQUESTS = """\
Type,Name,Request Count,Failure Count,Median Response Time,Average Response Time,Min Response Time,\
Max Response Time,Average Content Size,Requests/s,Failures/s,50%,66%,75%,80%,90%,95%,98%,99%,99.9%,\
99.99%,100%
GET,/models,100,0,3,3.5,1.0,20.5,300.0,10.04,0.0,3,4,4,5,7,9,12,15,20,20,21
POST,/predict,100,{failures},4,5.5,2.0,30.5,120.0,10.04,0.1,4,5,5,6,8,10,14,19,31,31,31
,Aggregated,200,{failures},4,4.5,1.0,30.5,210.0,20.08,0.1,4,5,5,6,8,10,13,17,31,31,31
"""
FAILURES = "Method,Name,Error,Occurrences\nPOST,/predict,CatchResponseError('status 503'),2\n"


def requests(failures: int = 0) -> str:
    return REQUESTS.format(failures=failures)


class FakeLocust:
    """A Locust whose clients come at once, on a clock that only sleeping moves."""

    def __init__(self, server: FakeServer) -> None:
        self.now = 0.0
        self.state: dict[str, Any] = {
            "state": "ready",
            "user_count": 0,
            "total_rps": 20.08,
            "workers": [{"id": "locust-worker-1_a", "state": "ready"}],
            "stats": [{"num_requests": 200, "num_failures": 0}],
        }
        self.swarm: object = None
        self.posted: list[str] = []
        self.comes = True
        self.answers_per_second = 0
        self.each_second: Callable[[], None] = lambda: None
        self.url = server.url
        server.answer = self.answer

    def answer(self, method: str, path: str, body: object) -> tuple[int, object]:
        if method == "POST":
            self.posted.append(path)
        if path == "/swarm":
            assert isinstance(body, dict)
            self.swarm = body
            if self.comes:
                self.state |= {"state": "running", "user_count": int(body["user_count"])}
            return 200, {"success": True, "message": "Swarming started"}
        if path == "/stop":
            self.state |= {"state": "stopping", "user_count": 0}
            return 200, {"success": True, "message": "Test stopped"}
        if path == "/stats/requests/csv":
            return 200, requests().encode()
        if path == "/stats/failures/csv":
            return 200, b"Method,Name,Error,Occurrences\n"
        if path == "/stats/reset":
            return 200, b"ok"
        state = dict(self.state)
        if state["state"] == "stopping":
            self.state["state"] = "stopped"
        return 200, state

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.state["stats"][-1]["num_requests"] += int(self.answers_per_second * seconds)
        self.each_second()

    def locust(self, screen: Screen) -> Locust:
        return Locust(
            *(self.url, ("locust", "right"), (Path("ca.crt"),), screen),
            clock=lambda: self.now,
            sleep=self.sleep,
        )


@pytest.fixture
def fake(server: FakeServer) -> FakeLocust:
    return FakeLocust(server)


def test_clients_come_are_counted_and_go(fake: FakeLocust, screen: Screen) -> None:
    fake.answers_per_second = 1000
    result = fake.locust(screen).run(Load(users=500, seconds=30))
    assert fake.swarm == {"user_count": "500", "spawn_rate": "100.0", "run_time": "215"}
    assert fake.posted == ["/swarm", "/stats/reset", "/stop"]
    # After five to warm up, and another one until the clients have gone.
    assert fake.now == 36
    assert not result.failed
    assert "20 of 30 s: 25200 requests, 20 in a second, 0 failures" in screen.text
    assert "few answers" not in screen.text


@pytest.mark.parametrize(
    ("answers_per_second", "seconds"), [(300_000, 5), (3000, 20), (501, 120), (0, 120)]
)
def test_counting_begins_when_the_last_client_has_had_an_answer(
    fake: FakeLocust, screen: Screen, answers_per_second: int, seconds: int
) -> None:
    ends: list[float] = []
    fake.answers_per_second = answers_per_second
    fake.locust(screen).run(Load(users=10_000, seconds=10), lambda: ends.append(fake.now))
    assert ends == [seconds, seconds + 10]
    assert ("few answers come in 2 min 00 s" in screen.text) == (answers_per_second == 0)


def test_what_another_run_left_is_stopped_first(fake: FakeLocust, screen: Screen) -> None:
    fake.state |= {"state": "running", "user_count": 7}
    fake.locust(screen).run(Load(users=5, seconds=10))
    assert fake.posted == ["/stop", "/swarm", "/stats/reset", "/stop"]


def test_nobody_who_can_make_load(fake: FakeLocust, screen: Screen) -> None:
    fake.state["workers"] = [{"id": "locust-worker-1_a", "state": "missing"}]
    with pytest.raises(ControlError, match="No process is ready to make load after 2 min 00 s"):
        fake.locust(screen).run(Load(users=5, seconds=10))
    assert fake.posted == []


def test_clients_that_do_not_come(fake: FakeLocust, screen: Screen) -> None:
    fake.comes = False
    with pytest.raises(LostClientsError, match="Not all of 5 clients have come"):
        fake.locust(screen).run(Load(users=5, seconds=10))
    assert fake.posted[-1] == "/stop"


def test_clients_that_are_lost(fake: FakeLocust, screen: Screen) -> None:
    def lose() -> None:
        if fake.now > 25:
            fake.state["user_count"] = 3

    fake.each_second = lose
    with pytest.raises(LostClientsError, match="3 of 5 clients left"):
        fake.locust(screen).run(Load(users=5, seconds=60))
    assert fake.posted[-1] == "/stop"


def test_refusal_is_told(fake: FakeLocust, server: FakeServer, screen: Screen) -> None:
    usual = server.answer

    def refuse(method: str, path: str, body: object) -> tuple[int, object]:
        if path == "/swarm":
            return 200, {"success": False, "message": "no runner"}
        return usual(method, path, body)

    server.answer = refuse
    with pytest.raises(ControlError, match="refused /swarm: no runner"):
        fake.locust(screen).run(Load(users=5, seconds=10))


def test_tables(tmp_path: Path) -> None:
    result = Result(requests(failures=2), FAILURES)
    assert result.failed
    printed = "\n".join(result.lines())
    assert "/predict  100       2         10.0        4       10      19      31" in printed
    assert "all       200       2         20.1        4       10      17      31" in printed
    assert "2         /predict  CatchResponseError('status 503')" in printed
    result.save(tmp_path / "kept")
    assert (tmp_path / "kept" / "requests.csv").read_text() == requests(failures=2)
    assert (tmp_path / "kept" / "failures.csv").read_text() == FAILURES


def test_no_request_is_no_success() -> None:
    header = REQUESTS.splitlines()[0]
    row = ",Aggregated,0,0,0,0.0,0.0,0.0,0.0,0.0,0.0" + ",N/A" * 11
    assert Result(f"{header}\n{row}\n", "Method,Name,Error,Occurrences\n").failed


def test_what_the_operator_types() -> None:
    assert parse_load("10000", "3600") == Load(10_000, 3600)
    for users in ("0", "10001", "many", "", "1.5", "-1"):
        with pytest.raises(ControlError, match="USERS must be a whole number from 1 to 10000"):
            parse_load(users, "60")
    for seconds in ("9", "3601", ""):
        with pytest.raises(ControlError, match="DURATION must be a whole number from 10 to 3600"):
            parse_load("5", seconds)


def test_few_clients_come_slowly_and_many_fast() -> None:
    assert Load(1, 10).users_per_second == 1
    assert Load(100, 10).ramp_seconds == 5
    assert Load(10_000, 10).ramp_seconds == 50
