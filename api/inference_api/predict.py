"""``POST /predict`` as a bare ASGI application; FastAPI answers everything else.

It takes what :class:`inference_api.http_protocol.ShortWayProtocol` leaves to it: other methods,
and requests in an unusual form. Errors look the same on every route.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from time import perf_counter
from typing import Any

from inference_api.metrics import RouteStatistics
from inference_api.prediction_queue import PredictionQueue
from inference_api.problems import ServiceError, body_too_large, encode_detail

PATH = "/predict"
SELECTION_HEADER = "X-Model"
SELECTION_COOKIE = "model"
REPLICA_HEADER = "X-Replica"

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_SELECTION_HEADER = SELECTION_HEADER.lower().encode()
_SELECTION_COOKIE = SELECTION_COOKIE.encode()


def read_selection(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return a client's selection, if it made one.

    Args:
        headers: The request's, names in lower case.
    """
    cookie = None
    for name, value in headers:
        if name == _SELECTION_HEADER:
            if value:
                return value.decode("latin-1")
        elif name == b"cookie" and cookie is None:
            cookie = _selection_in_cookie(value)
    return cookie


class _ClientGoneError(Exception):
    """The client closed the connection before its request was complete."""


class _Request:
    """A request of the queue whose answer can be awaited."""

    def __init__(self, body: bytes, selection: str | None, started: float) -> None:
        self.body = body
        self.selection = selection
        self.started = started
        self.answer: asyncio.Future[tuple[int, bytes, int | None]] = (
            asyncio.get_running_loop().create_future()
        )

    def reply(self, status: int, body: bytes, retry_after: int | None) -> None:
        """Make the answer known, unless nobody waits for it any more."""
        if not self.answer.done():
            self.answer.set_result((status, body, retry_after))


class PredictEndpoint:
    """The ASGI application behind :data:`PATH`.

    Args:
        queue: What answers predictions.
        max_body_bytes: The largest body that is accepted.
        replica: This replica's identity.
        statistics: What counts the requests that do not reach the queue.
    """

    def __init__(
        self,
        queue: PredictionQueue,
        max_body_bytes: int,
        replica: bytes,
        statistics: RouteStatistics,
    ) -> None:
        self._queue = queue
        self._max_body_bytes = max_body_bytes
        self._content_type = (b"content-type", b"application/json")
        self._replica = (REPLICA_HEADER.lower().encode(), replica)
        self._statistics = statistics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = perf_counter()
        extra: Headers = []
        try:
            if scope["method"] != "POST":
                extra.append((b"allow", b"POST"))
                raise ServiceError(405, f"{PATH} answers POST only.")
            body = await self._read_body(scope["headers"], receive)
        except ServiceError as error:
            status, answer = error.status, encode_detail(error.detail)
            self._statistics.observe(status, perf_counter() - started)
        except _ClientGoneError:
            return
        else:
            request = _Request(body, read_selection(scope["headers"]), started)
            self._queue.submit(request)
            status, answer, retry_after = await request.answer
            if retry_after is not None:
                extra.append((b"retry-after", b"%d" % retry_after))
        length = (b"content-length", b"%d" % len(answer))
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [self._content_type, length, *extra, self._replica],
            }
        )
        await send({"type": "http.response.body", "body": answer})

    async def _read_body(self, headers: Headers, receive: Receive) -> bytes:
        """Return the body.

        Raises:
            ServiceError: 413, it is too large, or announced as such.
            _ClientGoneError: It does not come.
        """
        for name, value in headers:
            if name == b"content-length" and int(value) > self._max_body_bytes:
                raise body_too_large(self._max_body_bytes)
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _ClientGoneError
            chunk: bytes = message.get("body", b"")
            size += len(chunk)
            if size > self._max_body_bytes:
                raise body_too_large(self._max_body_bytes)
            chunks.append(chunk)
            if not message.get("more_body", False):
                return b"".join(chunks)


def _selection_in_cookie(header: bytes) -> str | None:
    for part in header.split(b";"):
        name, _, value = part.partition(b"=")
        if name.strip() == _SELECTION_COOKIE:
            return value.strip(b' "').decode("latin-1") or None
    return None
