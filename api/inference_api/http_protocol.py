"""Uvicorn's HTTP protocol with a short way for what clients ask most.

The parser, the connections' life and everything unusual are uvicorn's. A plain request for a
prediction, for the models or for a selection, which is nearly every request, needs neither an
ASGI scope nor a task, and its answer is written in one piece.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from inference_api.metrics import RouteStatistics
from inference_api.predict import REPLICA_HEADER, read_selection
from inference_api.prediction_queue import PredictionQueue

# Requests with one of these are not plain.
_UNUSUAL_HEADERS = frozenset((b"expect", b"transfer-encoding"))


class Answer(NamedTuple):
    """What a plain request is answered with, with status 200.

    Attributes:
        body: JSON.
        headers: More headers than every answer has, names in lower case.
    """

    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class PlainRoute:
    """A route whose plain requests take the short way.

    Attributes:
        path: Its path.
        method: The method that takes the short way.
        statistics: What counts its requests.
        answer: Answers a request at once, given its body, or gives None and leaves it to
            uvicorn's way. None: the request goes into the queue for predictions.
    """

    path: bytes
    method: bytes
    statistics: RouteStatistics
    answer: Callable[[bytes], Answer | None] | None


class AnswerHeads:
    """The heads of answers, with what uvicorn adds to every answer (the date).

    Args:
        replica: The replica's identity.
    """

    def __init__(self, replica: bytes) -> None:
        self.replica = b"%b: %b\r\n" % (REPLICA_HEADER.lower().encode(), replica)
        self._default_headers: Sequence[tuple[bytes, bytes]] = ()
        self._before_length: dict[int, bytes] = {}

    def before_length(self, status: int, default_headers: Sequence[tuple[bytes, bytes]]) -> bytes:
        """Return a head up to the value of ``content-length``.

        Args:
            status: HTTP status.
            default_headers: Uvicorn's; it makes a new list each second.
        """
        if default_headers is not self._default_headers:
            self._default_headers = default_headers
            self._before_length.clear()
        head = self._before_length.get(status)
        if head is None:
            lines = [b"%b: %b\r\n" % header for header in default_headers]
            lines.append(b"content-type: application/json\r\ncontent-length: ")
            head = self._before_length[status] = STATUS_LINE[status] + b"".join(lines)
        return head


class _Exchange:
    """A connection's plain requests and their answers, one after the other.

    To the queue it is a request, to uvicorn the cycle of the connection (which has uvicorn wait
    for it at shutdown, and put requests that come before the answer behind it).
    """

    __slots__ = (
        "_protocol",
        "body",
        "disconnected",
        "keep_alive",
        "message_event",
        "response_complete",
        "route",
        "selection",
        "started",
    )

    def __init__(self, protocol: "ShortWayProtocol") -> None:
        self._protocol = protocol
        self.route: PlainRoute | None = None
        self.body = b""
        self.selection: str | None = None
        self.started = 0.0
        self.keep_alive = True
        self.disconnected = False
        self.response_complete = True
        self.message_event = asyncio.Event()  # uvicorn sets it; nobody waits for it

    def reply(self, status: int, body: bytes, retry_after: int | None) -> None:
        """Write the answer."""
        headers = () if retry_after is None else ((b"retry-after", b"%d" % retry_after),)
        self.write(status, body, headers)

    def write(self, status: int, body: bytes, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Write the answer, with more headers than every answer has."""
        self.response_complete = True
        if not self.disconnected:
            self._protocol.write_answer(status, body, headers, self.keep_alive)


class ShortWayProtocol(HttpToolsProtocol):
    """One connection; a subclass for each application has the attributes' values.

    Attributes:
        queue: What answers predictions.
        routes: The routes that have a short way, by path.
        max_body_bytes: The largest body that takes the short way.
        heads: The answers' heads.
    """

    queue: PredictionQueue
    routes: Mapping[bytes, PlainRoute]
    max_body_bytes: int
    heads: AnswerHeads
    cycle: Any  # uvicorn's for its way, the exchange for the short one

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._exchange = _Exchange(self)
        self._idle_since: float | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._exchange.disconnected = True
        super().connection_lost(exc)
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None

    # ------------------------------------------------------------ the parser's callbacks

    def on_message_begin(self) -> None:
        """Begin a request; its ASGI scope is made only if it is needed."""
        self.url = b""
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Send the request on the short way, or on uvicorn's."""
        route = self.routes.get(self.url)
        if route is None or not self._is_plain(route.method):
            self._take_uvicorns_way()
            return
        exchange = self._exchange
        exchange.started = perf_counter()
        exchange.route = route
        exchange.body = b""
        if route.answer is None:
            exchange.selection = read_selection(self.headers)
        exchange.keep_alive = self.parser.should_keep_alive()
        exchange.response_complete = False
        self.cycle = exchange

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        if self.cycle is self._exchange:
            self._exchange.body += body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Answer a complete request, or hand it to the queue."""
        exchange = self._exchange
        if self.cycle is not exchange:
            super().on_message_complete()
        elif exchange.route is None or exchange.route.answer is None:
            self.queue.submit(exchange)
        else:
            self._answer(exchange, exchange.route.answer(exchange.body), exchange.route.statistics)

    def _answer(
        self, exchange: _Exchange, answer: Answer | None, statistics: RouteStatistics
    ) -> None:
        if answer is not None:
            exchange.write(200, answer.body, answer.headers)
            statistics.observe(200, perf_counter() - exchange.started)
            return
        # As if it had only now arrived.
        exchange.response_complete = True
        self._take_uvicorns_way()
        if exchange.body:
            super().on_body(exchange.body)
        super().on_message_complete()

    def _take_uvicorns_way(self) -> None:
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url = url
        for name, value in headers:
            super().on_header(name, value)
        super().on_headers_complete()

    def _is_plain(self, method: bytes) -> bool:
        if self.parser.get_method() != method:
            return False
        if self.cycle is not None and not self.cycle.response_complete:
            return False  # it has to wait for the answer before its own
        announced = -1 if method == b"POST" else 0
        for name, value in self.headers:
            if name == b"content-length":
                announced = int(value)
            elif name in _UNUSUAL_HEADERS:
                return False
        return (
            0 <= announced <= self.max_body_bytes
            and self.parser.get_http_version() == "1.1"
            and not self.parser.should_upgrade()
            and not self.flow.write_paused
        )

    # ------------------------------------------------------------ answers and idle connections

    def write_answer(
        self,
        status: int,
        body: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        keep_alive: bool,
    ) -> None:
        """Write the answer to a plain request, and go on with what came after it.

        Args:
            status: HTTP status.
            body: JSON.
            headers: More headers than every answer has.
            keep_alive: Whether the connection goes on.
        """
        heads = self.heads
        parts = [
            heads.before_length(status, self.server_state.default_headers),
            b"%d\r\n" % len(body),
            *(b"%b: %b\r\n" % header for header in headers),
            heads.replica,
        ]
        if not keep_alive:
            parts.append(b"connection: close\r\n")
        parts += (b"\r\n", body)
        self.transport.write(b"".join(parts))
        if not keep_alive:
            self.transport.close()
        self.on_response_complete()

    def on_response_complete(self) -> None:
        """Start the request that came meanwhile, or let the connection be idle.

        Unlike uvicorn's it sets one timer for a connection and not one for each request.
        """
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
            return
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._close_when_idle(self.timeout_keep_alive)

    def _unset_keepalive_if_required(self) -> None:
        self._idle_since = None

    def _close_when_idle(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(
            seconds, self.timeout_keep_alive_handler
        )

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection if it was idle for long enough."""
        self.timeout_keep_alive_task = None
        if self._idle_since is None:
            return  # a request is on its way; its answer sets the next timer
        remaining = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if remaining > 0:
            self._close_when_idle(remaining)
        else:
            super().timeout_keep_alive_handler()
