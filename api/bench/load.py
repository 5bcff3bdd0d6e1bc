"""The load generator: ``python -m bench.load``, one process, HTTP/1.1 with keep-alive.

Open loop (``--rate``): requests are due at random times of a Poisson process, whether or not
earlier ones were answered, and a request's latency counts from the moment it was due. Closed loop
(no rate): each connection sends its next request when it has its answer.
"""

import argparse
import asyncio
import gc
import itertools
import json
import random
import sys
from array import array
from collections import Counter, deque
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import cast

import uvloop

# A request that has no answer after this long is given up.
_PATIENCE_SECONDS = 10.0
_CONNECTING_AT_ONCE = 100


@dataclass(frozen=True)
class Outcome:
    """What came of a load.

    Attributes:
        seconds: How long requests were sent.
        sent: How many requests were due.
        statuses: Answers by HTTP status; "lost" are connections that broke, "none" those
            requests that were never answered.
        latencies: Seconds of each answered request, those with status 200 alone, sorted.
        refused: Seconds of each answered request with another status, sorted.
    """

    seconds: float
    sent: int
    statuses: dict[str, int]
    latencies: list[float]
    refused: list[float]

    def summary(self) -> dict[str, object]:
        """Return the outcome with quantiles in place of each request's latency (ms)."""
        return {
            "seconds": round(self.seconds, 3),
            "sent": self.sent,
            "statuses": self.statuses,
            "per_second": round(len(self.latencies) / self.seconds, 1),
            **{f"{name}_ms": value for name, value in _quantiles(self.latencies).items()},
            **{f"refused_{name}_ms": value for name, value in _quantiles(self.refused).items()},
        }


def _quantiles(values: list[float]) -> dict[str, float | None]:
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1.0}
    if not values:
        return dict.fromkeys(shares)
    last = len(values) - 1
    return {name: round(values[int(share * last)] * 1000, 3) for name, share in shares.items()}


class Generator:
    """Sends requests and takes their answers.

    Args:
        host: Where to.
        port: Where to.
        requests: What is sent, one after the other, again and again.
        connections: How many connections there are.
        rate: Requests a second, or None for a closed loop.
        seed: Of the times at which requests are due.
    """

    def __init__(
        self,
        host: str,
        port: int,
        requests: list[bytes],
        connections: int,
        rate: float | None,
        seed: int = 1,
    ) -> None:
        self._address = host, port
        self._requests = itertools.cycle(requests)
        self._connections = connections
        self._rate = rate
        self._random = random.Random(seed)  # noqa: S311 - no secret is drawn
        self._idle: deque[_Connection] = deque()
        self._due: deque[float] = deque()
        self._open: set[_Connection] = set()
        self._sending = False
        self._counting = False
        self._sent = 0
        self._statuses: Counter[str] = Counter()
        self._latencies = array("d")
        self._refused = array("d")

    async def run(self, warm_up_seconds: float, seconds: float) -> Outcome:
        """Send for ``warm_up_seconds`` without counting, then for ``seconds``."""
        for _ in range(0, self._connections, _CONNECTING_AT_ONCE):
            missing = self._connections - len(self._open)
            await asyncio.gather(
                *(self._connect() for _ in range(min(missing, _CONNECTING_AT_ONCE)))
            )
        gc.collect()
        gc.disable()
        self._sending = True
        driver = asyncio.create_task(self._drive())
        await asyncio.sleep(warm_up_seconds)
        self._counting = True
        started = perf_counter()
        await asyncio.sleep(seconds)
        self._sending = False
        driver.cancel()
        elapsed = perf_counter() - started
        deadline = perf_counter() + _PATIENCE_SECONDS
        while (len(self._idle) < len(self._open) or self._due) and perf_counter() < deadline:
            await asyncio.sleep(0.01)
        unanswered = len(self._open) - len(self._idle) + len(self._due)
        if unanswered:
            self._statuses["none"] = unanswered
        for connection in list(self._open):
            connection.close()
        return Outcome(
            elapsed,
            self._sent,
            dict(self._statuses),
            sorted(self._latencies),
            sorted(self._refused),
        )

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: _Connection(self), *self._address)

    async def _drive(self) -> None:
        if self._rate is None:
            for connection in list(self._idle):
                connection.send(perf_counter())
            self._idle.clear()
            return
        due = perf_counter()
        while True:
            due += self._random.expovariate(self._rate)
            pause = due - perf_counter()
            if pause > 0.0005:
                await asyncio.sleep(pause)
            if self._counting:
                self._sent += 1
            if self._idle:
                self._idle.popleft().send(due)
            else:
                self._due.append(due)

    def next_request(self) -> bytes:
        """Return what to send next."""
        return next(self._requests)

    def opened(self, connection: "_Connection") -> None:
        """Take a new connection."""
        self._open.add(connection)
        self._idle.append(connection)
        if self._sending:
            self._go_on(connection)

    def answered(self, connection: "_Connection", status: str, due: float) -> None:
        """Count an answer, and let the connection send what is due next."""
        if self._counting:
            self._statuses[status] += 1
            seconds = perf_counter() - due
            (self._latencies if status == "200" else self._refused).append(seconds)
        self._idle.append(connection)
        self._go_on(connection)

    def lost(self, connection: "_Connection", waited: bool) -> None:
        """Count a connection that broke, and open another."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if waited and self._counting:
            self._statuses["lost"] += 1
        if self._sending:
            connecting = asyncio.get_running_loop().create_task(self._reconnect())
            connection.replacement = connecting

    async def _reconnect(self) -> None:
        while self._sending:
            try:
                await self._connect()
            except OSError:
                await asyncio.sleep(0.01)
            else:
                return

    def _go_on(self, connection: "_Connection") -> None:
        if self._due:
            self._idle.remove(connection)
            connection.send(self._due.popleft())
        elif self._sending and self._rate is None:
            if self._counting:
                self._sent += 1
            self._idle.remove(connection)
            connection.send(perf_counter())


class _Connection(asyncio.Protocol):
    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._received = b""
        self._due = 0.0
        self._waits = False
        self._missing: int | None = None
        self._status = ""
        self.replacement: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._generator.opened(self)

    def connection_lost(self, _: Exception | None) -> None:
        self._generator.lost(self, self._waits)

    def send(self, due: float) -> None:
        self._due = due
        self._waits = True
        self._transport.write(self._generator.next_request())

    def close(self) -> None:
        self._waits = False
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        if self._missing is None:
            end = received.find(b"\r\n\r\n")
            if end < 0:
                self._received = received
                return
            head = received[:end].lower()
            start = head.index(b"\r\ncontent-length:") + 17
            stop = head.find(b"\r\n", start)
            length = int(head[start : stop if stop >= 0 else end])
            self._status = head[9:12].decode()
            self._missing = end + 4 + length
        if len(received) < self._missing:
            self._received = received
            return
        self._received = b""
        self._missing = None
        self._waits = False
        self._generator.answered(self, self._status, self._due)


def http_requests(path: str, bodies: list[bytes]) -> list[bytes]:
    """Return POST requests, as common clients send them."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nUser-Agent: bench\r\nAccept: */*\r\n"
        "Content-Type: application/json\r\nContent-Length: "
    ).encode()
    return [head + b"%d\r\n\r\n" % len(body) + body for body in bodies]


def main() -> None:
    """Run one load and print its summary as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--bodies", type=Path, required=True, help="one JSON body a line")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--warm-up", type=float, default=1.0)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    requests = http_requests(given.path, given.bodies.read_bytes().splitlines())
    generator = Generator(
        "127.0.0.1", given.port, requests, given.connections, given.rate, given.seed
    )
    outcome = uvloop.run(generator.run(given.warm_up, given.seconds))
    json.dump(outcome.summary(), sys.stdout)
    print()


if __name__ == "__main__":
    main()
