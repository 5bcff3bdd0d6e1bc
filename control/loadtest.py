"""Has clients ask the inference API from a machine of their own, and tells what became of it."""

import csv
import io
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from control.console import Console, duration, table
from control.errors import ControlError
from control.rest import Answer, send

GROUP = "loadtest"
MACHINE = "loadtest"

MOST_USERS = 10_000
SHORTEST_SECONDS, LONGEST_SECONDS = 10, 3600

# How fast clients come: a burst of connections is another test than the one that is asked for.
_USERS_PER_SECOND = 200
_SLOWEST_RAMP_SECONDS = 5
# Left out after the last client has come: its first answer comes in the fourth step of a new
# connection, and in each step it waits for its turn among the answers of all others. Two more are
# for processes that are not equally fast.
_WARM_UP_SECONDS = 5
_WARM_UP_ANSWERS_PER_USER = 6
_LONGEST_WARM_UP_SECONDS = 120
_POLL_SECONDS = 1.0
_PROGRESS_SECONDS = 10
_READY_SECONDS = 120
# Locust stops by itself if this process is gone, some time after it should have stopped it.
_GRACE_SECONDS = 60
_ALL = "Aggregated"


class LostClientsError(ControlError):
    """Not all clients came, or some went before their time; another try can be better."""


@dataclass(frozen=True)
class Load:
    """What is asked for.

    Attributes:
        users: the number of clients.
        seconds: how long they are counted.
    """

    users: int
    seconds: int

    @property
    def users_per_second(self) -> float:
        """How many clients come in each second at the beginning."""
        return max(min(_USERS_PER_SECOND, self.users / _SLOWEST_RAMP_SECONDS), 1)

    @property
    def ramp_seconds(self) -> float:
        """How long it takes until all clients are there."""
        return self.users / self.users_per_second

    @property
    def warm_up_answers(self) -> int:
        """How many answers they then get before they are counted."""
        return _WARM_UP_ANSWERS_PER_USER * self.users


@dataclass(frozen=True)
class Counts:
    """What became of the requests of one name, as Locust counted it.

    Attributes:
        name: the request's name, `Aggregated` for all together.
        requests: their number.
        failures: how many of them got no answer or a wrong one.
        rate: requests in a second.
        p50: milliseconds within which half of them were answered.
        p95: the same of 95 %.
        p99: the same of 99 %.
        longest: milliseconds of the slowest.
    """

    name: str
    requests: int
    failures: int
    rate: float
    p50: float
    p95: float
    p99: float
    longest: float


@dataclass(frozen=True)
class Result:
    """What Locust counted.

    Attributes:
        requests_csv: its table of requests.
        failures_csv: its table of failures, by what went wrong.
    """

    requests_csv: str
    failures_csv: str

    @property
    def counts(self) -> list[Counts]:
        """The table of requests, the sum in its last row."""
        return [
            Counts(
                name=row["Name"],
                requests=int(row["Request Count"]),
                failures=int(row["Failure Count"]),
                rate=float(row["Requests/s"]),
                p50=_milliseconds(row["50%"]),
                p95=_milliseconds(row["95%"]),
                p99=_milliseconds(row["99%"]),
                longest=_milliseconds(row["100%"]),
            )
            for row in csv.DictReader(io.StringIO(self.requests_csv))
        ]

    @property
    def failed(self) -> bool:
        """Whether a request failed, or there was none."""
        everything = self.counts[-1]
        return everything.failures > 0 or everything.requests == 0

    def lines(self) -> list[str]:
        """Both tables for the operator."""
        rows = [
            [
                "all" if counts.name == _ALL else counts.name,
                *(str(counts.requests), str(counts.failures), f"{counts.rate:.1f}"),
                *(f"{value:.0f}" for value in (counts.p50, counts.p95, counts.p99, counts.longest)),
            ]
            for counts in self.counts
        ]
        header = ["Request", "Requests", "Failures", "Requests/s", *("p50 ms", "p95 ms", "p99 ms")]
        lines = table([*header, "Longest ms"], rows)
        failures = list(csv.DictReader(io.StringIO(self.failures_csv)))
        if failures:
            listed = [[row["Occurrences"], row["Name"], row["Error"]] for row in failures]
            lines += ["", *table(["Failures", "Request", "What went wrong"], listed)]
        return lines

    def save(self, folder: Path) -> None:
        """Keep both tables as they are."""
        folder.mkdir(parents=True)
        (folder / "requests.csv").write_text(self.requests_csv)
        (folder / "failures.csv").write_text(self.failures_csv)


class Locust:
    """The Locust at one address, through what its web page calls.

    Args:
        url: the base address.
        login: user and password.
        trusted: files with certificates that are trusted besides the host's.
        console: tells the operator.
    """

    def __init__(
        self,
        url: str,
        login: tuple[str, str],
        trusted: tuple[Path, ...],
        console: Console,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = url
        self._console = console
        self.login = login
        self._trusted = trusted
        self._clock = clock
        self._sleep = sleep

    def run(self, load: Load, at_both_ends: Callable[[], object] = lambda: None) -> Result:
        """Have the clients come, count for so long, and have them go, whatever happens.

        Args:
            load: what is asked for.
            at_both_ends: called when the time that counts begins, and when it is over.

        Raises:
            LostClientsError: not all clients were there all the time.
            ControlError: Locust does not do as it is told.
        """
        self._wait("no process is ready to make load", _READY_SECONDS, self._is_idle)
        total = load.ramp_seconds + _LONGEST_WARM_UP_SECONDS + load.seconds + _GRACE_SECONDS
        try:
            self._post(
                "/swarm",
                {
                    "user_count": str(load.users),
                    "spawn_rate": str(load.users_per_second),
                    "run_time": f"{total:.0f}",
                },
            )
            self._console.say(f"    {load.users} clients come within {duration(load.ramp_seconds)}")
            self._wait(
                f"not all of {load.users} clients have come",
                load.ramp_seconds + _GRACE_SECONDS,
                lambda state: state["state"] == "running" and state["user_count"] == load.users,
                LostClientsError,
            )
            self._warm_up(load)
            self._post("/stats/reset")
            at_both_ends()
            self._count(load)
            at_both_ends()
            result = Result(self._csv("requests"), self._csv("failures"))
        finally:
            self._post("/stop")
        # Until then they go on asking.
        self._wait("not all clients have gone", _READY_SECONDS, self._is_idle)
        return result

    def _warm_up(self, load: Load) -> None:
        """Let the last clients get their first answers."""
        enough = _answers(self._state()) + load.warm_up_answers
        deadline = self._clock() + _LONGEST_WARM_UP_SECONDS
        self._sleep(_WARM_UP_SECONDS)
        while _answers(self._state()) < enough:
            if self._clock() >= deadline:
                self._console.say(
                    f"    few answers come in {duration(_LONGEST_WARM_UP_SECONDS)}: what is "
                    "counted now has the first requests of the last clients in it"
                )
                return
            self._sleep(_POLL_SECONDS)

    def _count(self, load: Load) -> None:
        """Let the time pass, and show how it goes."""
        began = self._clock()
        shown = 0.0
        while (elapsed := self._clock() - began) < load.seconds:
            self._sleep(min(_POLL_SECONDS, load.seconds - elapsed))
            elapsed = self._clock() - began
            if elapsed - shown < _PROGRESS_SECONDS:
                continue
            shown = elapsed
            state = self._state()
            if state["user_count"] != load.users:
                raise LostClientsError(
                    f"Locust has {state['user_count']} of {load.users} clients left: was it "
                    "stopped, or has a process ended? `make status` shows both machines."
                )
            everything = state["stats"][-1]
            self._console.say(
                f"    {elapsed:4.0f} of {load.seconds} s: {everything['num_requests']} requests, "
                f"{state['total_rps']:.0f} in a second, {everything['num_failures']} failures"
            )

    def _is_idle(self, state: Mapping[str, Any]) -> bool:
        if state["user_count"] > 0 or state["state"] in ("spawning", "running", "cleanup"):
            self._post("/stop")  # left by a run that was killed, or begun on the page
            return False
        if state["state"] == "stopping":
            return False
        # Without workers the one process does it all.
        workers = state.get("workers")
        return workers is None or any(worker["state"] == "ready" for worker in workers)

    def _wait(
        self,
        problem: str,
        seconds: float,
        is_so: Callable[[Mapping[str, Any]], bool],
        error: type[ControlError] = ControlError,
    ) -> None:
        deadline = self._clock() + seconds
        while not is_so(state := self._state()):
            if self._clock() >= deadline:
                raise error(
                    f"{problem.capitalize()} after {duration(seconds)}; Locust at {self.url} says "
                    f"`{state['state']}` and has {state['user_count']} clients."
                )
            self._sleep(_POLL_SECONDS)

    def _state(self) -> dict[str, Any]:
        answer = self._send("GET", "/stats/requests")
        if answer.status != 200 or not isinstance(answer.body, dict):
            raise ControlError(f"Locust at {self.url} answered {answer.status}: {answer.detail}")
        state: dict[str, Any] = answer.body
        return state

    def _post(self, path: str, form: Mapping[str, str] | None = None) -> None:
        answer = self._send("POST", path, form)
        told = answer.body if isinstance(answer.body, dict) else {}
        if answer.status != 200 or told.get("success") is False:
            raise ControlError(
                f"Locust at {self.url} refused {path}: {told.get('message', answer.detail)}"
            )

    def _send(self, method: str, path: str, form: Mapping[str, str] | None = None) -> Answer:
        return send(
            *(method, f"{self.url}{path}"),
            form=form,
            login=self.login,
            trusted=self._trusted,
        )

    def _csv(self, name: str) -> str:
        answer = self._send("GET", f"/stats/{name}/csv")
        if answer.status != 200:
            raise ControlError(f"Locust at {self.url} answered {answer.status}: {answer.detail}")
        return str(answer.body)


def parse_load(users: str, seconds: str) -> Load:
    """Read what the operator typed.

    Raises:
        ControlError: one of both is no whole number in range.
    """
    example = "`make loadtest USERS=500 DURATION=60`"
    return Load(
        _whole_number("USERS", users, 1, MOST_USERS, example),
        _whole_number("DURATION", seconds, SHORTEST_SECONDS, LONGEST_SECONDS, example),
    )


def _whole_number(name: str, text: str, least: int, most: int, example: str) -> int:
    if text.isascii() and text.isdecimal() and least <= int(text) <= most:
        return int(text)
    raise ControlError(
        f"{name} must be a whole number from {least} to {most}, and is {text!r}: {example}."
    )


def _answers(state: Mapping[str, Any]) -> int:
    """How many requests have ended so far."""
    return int(state["stats"][-1]["num_requests"])


def _milliseconds(text: str) -> float:
    """A cell of Locust's table, which has `N/A` where nothing was counted."""
    return float("nan") if text == "N/A" else float(text)
