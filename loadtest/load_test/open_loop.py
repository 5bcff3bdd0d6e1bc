"""Predictions at a fixed rate, whatever becomes of them: `python -m load_test.open_loop`.

Clients that wait for an answer before they ask again ask less the slower the answers are, so that
their waiting hides itself (coordinated omission). Here every request has a moment at which it is
due, and its time runs from that moment to its answer: it counts that no connection was free, and
that the generator itself was late. How late that was is told apart, as then it is not the target
that was measured.

All connections are made before the first request is due: to make an encrypted one costs more
processor time than many predictions. One that breaks off is made anew.
"""

import argparse
import asyncio
import json
import multiprocessing
import random
import sys
import time
from bisect import bisect_left
from collections import Counter, deque
from dataclasses import dataclass, field
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import uvloop

from load_test.answers import Answers, WrongAnswerError
from load_test.settings import Settings, SettingsError

# The loop looks so often for what is due.
_TICK_SECONDS = 0.001
# Connections that a process makes at a time.
_OPENING_AT_ONCE = 8
# Between the moment at which all processes have their connections, and the first request.
_START_SECONDS = 1.0
# So long one process waits for the connections of the others.
_READY_SECONDS = 120.0
# An answer that has not come so long after the last request was due does not count as one.
_PATIENCE_SECONDS = 5.0
# Buckets of latencies: each is this much wider than the one before, the first ends at 0.1 ms.
_FIRST_BUCKET_SECONDS = 0.0001
_BUCKET_RATIO = 1.02
# Up to two minutes, which nothing takes.
_BUCKET_ENDS = [_FIRST_BUCKET_SECONDS * _BUCKET_RATIO**bucket for bucket in range(708)]
_NO_ANSWER = "no answer"


@dataclass(frozen=True)
class Plan:
    """What is to be sent.

    Attributes:
        rate: requests in a second, of all processes together.
        seconds: how long they count.
        warm_up_seconds: how long they are sent before that.
        processes: how many processes send them.
        connections: how many connections each process has.
    """

    rate: float
    seconds: float
    warm_up_seconds: float
    processes: int
    connections: int


@dataclass
class Counted:
    """What became of the requests that were due in the time that counts.

    Attributes:
        due: their number.
        ended: how many ended in which way: a status, `wrong answer` or `no answer`.
        latencies: for `200`, the number of them by bucket; see `bucket_end_ms`.
        lateness: the number of all by the bucket of how late they were sent.
        processor_seconds: processor time that each process used meanwhile.
    """

    due: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    latencies: Counter[int] = field(default_factory=Counter)
    lateness: Counter[int] = field(default_factory=Counter)
    processor_seconds: list[float] = field(default_factory=list)

    def add(self, other: "Counted") -> None:
        """Take what another process counted."""
        self.due += other.due
        self.ended += other.ended
        self.latencies += other.latencies
        self.lateness += other.lateness
        self.processor_seconds += other.processor_seconds

    def report(self) -> dict[str, Any]:
        """All of it, with the ends of the buckets in milliseconds instead of their numbers."""
        return {
            "due": self.due,
            "ended": dict(sorted(self.ended.items())),
            "latencies": _by_milliseconds(self.latencies),
            "lateness": _by_milliseconds(self.lateness),
            "processor_seconds": self.processor_seconds,
        }


def bucket_of(seconds: float) -> int:
    """The number of the bucket that a time falls into."""
    return bisect_left(_BUCKET_ENDS, seconds)


def bucket_end_ms(bucket: int) -> float:
    """The longest time of a bucket in milliseconds."""
    return round(_FIRST_BUCKET_SECONDS * _BUCKET_RATIO**bucket * 1000, 4)


def _by_milliseconds(buckets: Counter[int]) -> list[tuple[float, int]]:
    return [(bucket_end_ms(bucket), buckets[bucket]) for bucket in sorted(buckets)]


class _Connection(asyncio.Protocol):
    """A kept connection with one request at a time."""

    def __init__(self, generator: "Generator") -> None:
        self._generator = generator
        self._transport: asyncio.Transport
        self._received = b""
        self.due: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes, due: float) -> None:
        """Send a request that was due at a moment."""
        self.due = due
        self._received = b""
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator or self.due is None:
            return
        lower = head.lower()
        start = lower.find(b"content-length:")
        length = int(lower[start + 15 :].split(b"\r\n", 1)[0]) if start >= 0 else 0
        if len(body) < length:
            return
        due, self.due = self.due, None
        self._generator.answered(self, due, head[9:12].decode(), body)
        if b"connection: close" in lower:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._generator.lost(self)

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()


class Generator:
    """One process's requests.

    Args:
        settings: whom to ask, about which model, and what.
        plan: the whole plan, of which this process has its part.
        part: which part: 0 to `plan.processes` - 1.
    """

    def __init__(self, settings: Settings, plan: Plan, part: int) -> None:
        target = urlsplit(settings.target_url)
        self._host = target.hostname or ""
        self._trust = settings.trust() if target.scheme == "https" else None
        self._port = target.port or (443 if self._trust else 80)
        self._answers = Answers(settings.model_name)
        self._requests = [
            f"POST /predict HTTP/1.1\r\nHost: {target.netloc}\r\nX-Model: {settings.model_name}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(question)}\r\n\r\n"
            f"{question}".encode()
            for question in settings.questions
        ]
        self._plan = plan
        self._interval = plan.processes / plan.rate
        self._offset = part / plan.rate
        self._free: deque[_Connection] = deque()
        self._waiting: deque[float] = deque()
        self._open = 0
        self._opening = 0
        self._counts_from = 0.0
        self._ends = 0.0
        self._outstanding = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.counted = Counted()

    async def connect(self) -> None:
        """Make all connections; where that fails, each request tries again when it is due."""

        async def make_some() -> None:
            while self._may_open and await self._connect():
                pass

        await asyncio.gather(*(make_some() for _ in range(_OPENING_AT_ONCE)))

    @property
    def _may_open(self) -> bool:
        """Whether it has fewer connections than planned."""
        return self._open + self._opening < self._plan.connections

    async def run(self, begin: float) -> None:
        """Send what is due from a moment of the clock on, and wait for the answers."""
        self._counts_from = begin + self._plan.warm_up_seconds
        self._ends = self._counts_from + self._plan.seconds
        due = begin + self._offset
        used = time.process_time()
        counting = False
        while due < self._ends:
            now = time.monotonic()
            if not counting and now >= self._counts_from:
                counting, used = True, time.process_time()
            while due <= now and due < self._ends:
                self._take(due, now)
                due += self._interval
            await asyncio.sleep(_TICK_SECONDS)
        self.counted.processor_seconds.append(time.process_time() - used)
        while self._outstanding and time.monotonic() < self._ends + _PATIENCE_SECONDS:
            await asyncio.sleep(0.01)
        if self._outstanding:
            self.counted.ended[_NO_ANSWER] += self._outstanding

    def answered(self, connection: _Connection, due: float, status: str, body: bytes) -> None:
        """Count an answer and use the connection for what waits."""
        if self._counts(due):
            self._outstanding -= 1
            ended = status
            if status == "200":
                try:
                    self._answers.check_prediction(body)
                except WrongAnswerError:
                    ended = "wrong answer"
                else:
                    self.counted.latencies[bucket_of(time.monotonic() - due)] += 1
            self.counted.ended[ended] += 1
        self._hand_out(connection)

    def lost(self, connection: _Connection) -> None:
        """Count a request whose connection broke off, and have another one for what waits."""
        self._open -= 1
        if connection.due is not None:
            self._fail(connection.due)
        elif connection in self._free:
            self._free.remove(connection)
        self._replace()

    def _take(self, due: float, now: float) -> None:
        if self._counts(due):
            self.counted.due += 1
            self.counted.lateness[bucket_of(now - due)] += 1
            self._outstanding += 1
        self._waiting.append(due)
        if self._free:
            # In turn: from one that is not used for long the other side takes leave, and what is
            # sent to it in that moment gets no answer.
            self._hand_out(self._free.popleft())
        else:
            self._replace()

    def _hand_out(self, connection: _Connection) -> None:
        if self._waiting:
            question = random.choice(self._requests)  # noqa: S311 - no secret
            connection.send(question, self._waiting.popleft())
        else:
            self._free.append(connection)

    def _replace(self) -> None:
        """Have a connection made for what waits, in place of one that has broken off."""
        if self._waiting and self._opening < _OPENING_AT_ONCE and self._may_open:
            task = asyncio.get_running_loop().create_task(self._replace_while_requests_wait())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _replace_while_requests_wait(self) -> None:
        while self._waiting and self._may_open:
            if not await self._connect() and self._waiting:
                self._fail(self._waiting.popleft())

    async def _connect(self) -> bool:
        """Make a connection and use it; tell whether that worked."""
        self._opening += 1
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: _Connection(self), self._host, self._port, ssl=self._trust
            )
        except OSError:
            return False
        finally:
            self._opening -= 1
        self._open += 1
        self._hand_out(connection)
        return True

    def _fail(self, due: float) -> None:
        if self._counts(due):
            self._outstanding -= 1
            self.counted.ended[_NO_ANSWER] += 1

    def _counts(self, due: float) -> bool:
        return self._counts_from <= due < self._ends


class _Processes:
    """What the processes of one plan share: each waits until all have their connections."""

    ready: Barrier

    @classmethod
    def share(cls, ready: Barrier) -> None:
        """Keep it, in a process that was just made."""
        cls.ready = ready


def generate(settings: Settings, plan: Plan, ready_file: Path | None = None) -> Counted:
    """Send all of it, from as many processes as planned.

    Args:
        settings: whom to ask, about which model, and what.
        plan: how much.
        ready_file: made as soon as all connections are there, a second before the first request.
    """
    context = multiprocessing.get_context("fork")
    tell = ready_file.touch if ready_file else None
    ready = context.Barrier(plan.processes, action=tell, timeout=_READY_SECONDS)
    with context.Pool(plan.processes, _Processes.share, (ready,)) as pool:
        parts = pool.starmap(
            _run, [(settings, plan, part) for part in range(plan.processes)], chunksize=1
        )
    counted = Counted()
    for part in parts:
        counted.add(part)
    return counted


def _run(settings: Settings, plan: Plan, part: int) -> Counted:
    generator = Generator(settings, plan, part)

    async def connect_and_send() -> None:
        await generator.connect()
        _Processes.ready.wait()
        await generator.run(time.monotonic() + _START_SECONDS)

    uvloop.run(connect_and_send())
    return generator.counted


def main(arguments: list[str] | None = None) -> int:
    """Run the command; it prints what became of the requests as one line of JSON.

    Returns:
        The exit code: 0, or 1 with a message on standard error.
    """
    parser = argparse.ArgumentParser(prog="python -m load_test.open_loop", description=__doc__)
    parser.add_argument("--rate", type=float, required=True, help="requests in a second")
    parser.add_argument("--seconds", type=float, required=True, help="how long they count")
    parser.add_argument("--warm-up", type=float, required=True, help="seconds before that")
    parser.add_argument("--processes", type=int, required=True, help="that send them")
    parser.add_argument("--connections", type=int, required=True, help="of each process")
    parser.add_argument("--ready-file", type=Path, help="made once all connections are there")
    options = parser.parse_args(arguments)
    plan = Plan(
        options.rate, options.seconds, options.warm_up, options.processes, options.connections
    )
    try:
        settings = Settings.read()
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(generate(settings, plan, options.ready_file).report()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
