"""Sends requests over kept connections and measures how they are answered.

Closed loop: each connection sends its next request when the last one is answered, which finds the
capacity. Open loop: requests are due at random times of a fixed rate, whether or not earlier ones
are answered, and latency counts from when a request was due, so waiting is never left out.
"""

import asyncio
import math
import os
import random
import re
import ssl
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle
from typing import cast

import numpy as np

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
# In the last answer of a connection, which the server closes then.
_LAST = re.compile(rb"\r\nconnection: *close\r\n", re.IGNORECASE)
# How often requests that are due are looked for, in seconds.
_TICK = 0.001
# How many an open loop has. Where they are not enough, requests wait for one, which counts as
# theirs: to make one costs both sides more processor time than many predictions, so that one bad
# moment would make the next one worse. With further ones made, 10,000 requests a second on two
# processors never got over a bad moment of 0.1 s; with these they do within two seconds.
_CONNECTIONS = 500
# Those that are lost are replaced, few at a time.
_OPENING_AT_ONCE = 8
_PATIENCE = 10.0
# Before the commands that are run beside a load, which are not the target's doing. Not before the
# target: its processes are in a control group of their own, where niceness does not count.
_NICENESS = -15
_SEED = 1
_OK = 200


@dataclass
class Load:
    """What a load met with.

    Attributes:
        seconds: how long requests were counted.
        due: how many requests were due in that time.
        statuses: the answers, by HTTP status.
        failures: requests without an answer, by what happened.
        latencies: seconds to the answers with status 200.
        refusal_latencies: seconds to all other answers.
        latest: by how many seconds the generator itself was late at most.
    """

    seconds: float = 0.0
    due: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    refusal_latencies: list[float] = field(default_factory=list)
    latest: float = 0.0

    @classmethod
    def of_all(cls, loads: "Sequence[Load]") -> "Load":
        """What several loads, one after the other, met with."""
        return cls(
            seconds=sum(load.seconds for load in loads),
            due=sum(load.due for load in loads),
            statuses=sum((load.statuses for load in loads), Counter()),
            failures=sum((load.failures for load in loads), Counter()),
            latencies=[latency for load in loads for latency in load.latencies],
            refusal_latencies=[latency for load in loads for latency in load.refusal_latencies],
            latest=max(load.latest for load in loads),
        )

    @property
    def per_second(self) -> float:
        """Answers with status 200 a second."""
        return self.statuses[_OK] / self.seconds

    @property
    def failed(self) -> int:
        """Requests that got no answer, or one that is an error."""
        return sum(self.failures.values()) + sum(
            count for status, count in self.statuses.items() if status != _OK
        )

    def milliseconds(self, share: float) -> float:
        """The latency that the given share of the answers with status 200 stayed within."""
        return float(np.quantile(self.latencies, share) * 1000) if self.latencies else math.nan

    def slowest_milliseconds(self) -> float:
        """The longest that any answer took, refusals too."""
        return max([*self.latencies, *self.refusal_latencies], default=math.nan) * 1000

    def figures(self) -> dict[str, float | int | dict[str, int]]:
        """What is kept of it."""
        return {
            "seconds": round(self.seconds, 2),
            "due": self.due,
            "per_second": round(self.per_second, 1),
            "p50_ms": round(self.milliseconds(0.5), 2),
            "p95_ms": round(self.milliseconds(0.95), 2),
            "p99_ms": round(self.milliseconds(0.99), 2),
            "slowest_ms": round(self.slowest_milliseconds(), 1),
            "failed": self.failed,
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "failures": dict(self.failures),
            "generator_late_ms": round(self.latest * 1000, 1),
        }


@dataclass(frozen=True)
class Target:
    """Where requests go, and the requests.

    Attributes:
        host: an address.
        port: its port.
        requests: whole HTTP/1.1 requests, sent one after the other and over again.
        trust: what its certificate is checked with, None for plain HTTP.
    """

    host: str
    port: int
    requests: Sequence[bytes]
    trust: ssl.SSLContext | None = None

    @classmethod
    def posting(
        cls,
        host: str,
        port: int,
        path: str,
        bodies: Sequence[bytes],
        trust: ssl.SSLContext | None = None,
    ) -> "Target":
        """Requests that post JSON bodies to a path."""
        head = f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
        return cls(
            host,
            port,
            [f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies],
            trust,
        )


class _Connection(asyncio.Protocol):
    """One kept connection, with at most one request on its way."""

    def __init__(self, run: "_Run") -> None:
        self._run = run
        self._transport: asyncio.Transport | None = None
        self._received = b""
        # When the request on its way was due, and whether it counts.
        self._due: float | None = None
        self._counts = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes, due: float, counts: bool) -> None:
        """Send a request that was due at a time of the monotonic clock."""
        self._due, self._counts = due, counts
        if self._transport is None:
            self._fail("no connection")
        else:
            self._transport.write(request)

    @property
    def usable(self) -> bool:
        """Whether it can take a request."""
        return self._transport is not None and not self._transport.is_closing()

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _LENGTH.search(self._received, 0, end)
        if length is None:
            self._fail("an answer without a length")
            return
        if len(self._received) < end + 4 + int(length[1]):
            return
        status, body = int(self._received[9:12]), self._received[end + 4 :]
        if _LAST.search(self._received, 0, end + 2) and self._transport is not None:
            # Not to be used again, as a closing transport is not.
            self._transport.close()
        self._received = b""
        due, self._due = self._due, None
        if due is not None:
            self._run.answered(self, status, body, due if self._counts else None)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._fail("connection lost" if error else "connection closed")
        self._run.lost(self)

    def close(self) -> None:
        """Close it; a request on its way counts as not answered."""
        self._fail("no answer in time")
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, reason: str) -> None:
        """Tell that the request on its way, if there is one, gets no answer."""
        if self._due is not None:
            self._due = None
            self._run.failed(reason, self._counts)


class _Run(ABC):
    """A load in progress: the connections, what is waiting and what is counted."""

    def __init__(self, target: Target, observe: Callable[[bytes], None] | None = None) -> None:
        self._target = target
        self._requests = cycle(target.requests)
        self._observe = observe
        self.connections: set[_Connection] = set()
        # Requests count that were due between these.
        self.begin = self.end = math.inf
        self.load = Load()
        self.on_the_way = 0

    async def connect(self) -> _Connection:
        """Open one more connection."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: _Connection(self),
            self._target.host,
            self._target.port,
            ssl=self._target.trust,
        )
        self.connections.add(connection)
        return connection

    def send(self, connection: _Connection, due: float) -> None:
        """Send the next request."""
        counts = self.counts(due)
        self.load.due += counts
        self.on_the_way += 1
        connection.send(next(self._requests), due, counts)

    def counts(self, due: float) -> bool:
        """Whether a request that was due then is counted."""
        return self.begin <= due < self.end

    def answered(
        self, connection: _Connection, status: int, body: bytes, due: float | None
    ) -> None:
        """Count an answer, unless `due` is None, and go on with the connection."""
        self.on_the_way -= 1
        if self._observe:
            self._observe(body)
        if due is not None:
            latency = time.monotonic() - due
            self.load.statuses[status] += 1
            (self.load.latencies if status == _OK else self.load.refusal_latencies).append(latency)
        self.free(connection)

    def failed(self, reason: str, counts: bool) -> None:
        """Count a request without an answer, if it counts."""
        self.on_the_way -= 1
        if counts:
            self.load.failures[reason] += 1

    @abstractmethod
    def free(self, connection: _Connection) -> None:
        """Go on with a connection that can take a request."""

    def lost(self, connection: _Connection) -> None:
        """Go on without a connection."""
        self.connections.discard(connection)

    async def finish(self) -> Load:
        """Wait for the last answers, close all connections and give the result."""
        self.end = min(self.end, time.monotonic())
        self.load.seconds = self.end - self.begin
        deadline = time.monotonic() + _PATIENCE
        while self.on_the_way and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        for connection in list(self.connections):
            connection.close()
        return self.load


class _ClosedRun(_Run):
    def free(self, connection: _Connection) -> None:
        now = time.monotonic()
        if now < self.end and connection.usable:
            self.send(connection, now)

    def lost(self, connection: _Connection) -> None:
        super().lost(connection)
        if time.monotonic() < self.end:
            self._replacement = asyncio.ensure_future(self._replace())

    async def _replace(self) -> None:
        try:
            self.free(await self.connect())
        except OSError:
            if time.monotonic() < self.end:
                self.load.failures["no connection"] += 1


class _OpenRun(_Run):
    def __init__(
        self, target: Target, observe: Callable[[bytes], None] | None, connections: int
    ) -> None:
        super().__init__(target, observe)
        self._count = connections
        # The one that has been idle longest is next: a server hangs up on one that it never hears
        # of, maybe at the very moment at which a request is on its way.
        self._idle: deque[_Connection] = deque()
        self._waiting: deque[float] = deque()
        self._opening: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Make connections before any request is due."""

        async def open_some(count: int) -> None:
            for _ in range(count):
                self.free(await self.connect())

        each, rest = divmod(self._count, _OPENING_AT_ONCE)
        counts = [each + (number < rest) for number in range(_OPENING_AT_ONCE)]
        await asyncio.gather(*map(open_some, counts))

    def free(self, connection: _Connection) -> None:
        if not connection.usable:
            return
        if self._waiting:
            self.send(connection, self._waiting.popleft())
        else:
            self._idle.append(connection)

    def due(self, due: float) -> None:
        """Send a request that is due now or was a moment ago."""
        while self._idle:
            connection = self._idle.popleft()
            if connection.usable:
                self.send(connection, due)
                return
        self._waiting.append(due)
        self._open_for_those_that_wait()

    def lost(self, connection: _Connection) -> None:
        super().lost(connection)
        self._open_for_those_that_wait()

    def _open_for_those_that_wait(self) -> None:
        if (
            self._waiting
            and len(self._opening) < _OPENING_AT_ONCE
            and len(self.connections) + len(self._opening) < self._count
        ):
            opening = asyncio.ensure_future(self._open_while_requests_wait())
            self._opening.add(opening)
            opening.add_done_callback(self._opening.discard)

    async def _open_while_requests_wait(self) -> None:
        while self._waiting and len(self.connections) < self._count:
            try:
                self.free(await self.connect())
            except OSError:
                if self._waiting and self.counts(self._waiting.popleft()):
                    self.load.due += 1
                    self.load.failures["no connection"] += 1

    async def keep_sending(self, rate: float) -> None:
        """Send requests when they are due, up to the end."""
        draws = random.Random(_SEED)  # noqa: S311 - times of requests are no secret
        due = time.monotonic()
        while due < self.end:
            now = time.monotonic()
            while due <= now and due < self.end:
                if self.counts(due):
                    self.load.latest = max(self.load.latest, now - due)
                self.due(due)
                due += draws.expovariate(rate)
            await asyncio.sleep(_TICK)

    async def finish(self) -> Load:
        deadline = time.monotonic() + _PATIENCE
        while self._waiting and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        unsent = sum(self.counts(due) for due in self._waiting)
        if unsent:
            self.load.due += unsent
            self.load.failures["no connection in time"] += unsent
        # Connections that are closed from here on get no successors.
        self._waiting.clear()
        return await super().finish()


@contextmanager
def _going_first() -> Iterator[None]:
    """Run before what this process has started, if the system lets it."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)


async def closed_loop(
    target: Target, connections: int, seconds: float, warm_up: float = 2.0
) -> Load:
    """Send over a number of connections, each its next request when the last is answered."""
    run = _ClosedRun(target)
    with _going_first():
        for connection in await asyncio.gather(*(run.connect() for _ in range(connections))):
            run.free(connection)
        await asyncio.sleep(warm_up)
        run.begin = time.monotonic()
        await asyncio.sleep(seconds)
        return await run.finish()


async def open_loop(
    target: Target,
    rate: float,
    work: Awaitable[object],
    observe: Callable[[bytes], None] | None = None,
    warm_up: float = 2.0,
    connections: int = _CONNECTIONS,
) -> Load:
    """Send requests at random times, whatever becomes of them, while something is done.

    Args:
        target: where to.
        rate: requests a second, in the mean.
        work: what is done meanwhile; requests count from its begin to its end.
        observe: is given each answer.
        warm_up: seconds of the same load before.
        connections: how many there are, made before that.
    """
    run = _OpenRun(target, observe, connections)
    with _going_first():
        await run.open()
        sending = asyncio.ensure_future(run.keep_sending(rate))
        try:
            await asyncio.sleep(warm_up)
            run.begin = time.monotonic()
            await work
        finally:
            run.end = time.monotonic()
            await sending
        return await run.finish()
