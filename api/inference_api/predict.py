"""``POST /predict``: as little as possible between the socket and ONNX Runtime.

It is a bare ASGI application; FastAPI answers everything else. Errors look the same on both.
"""

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from time import perf_counter
from typing import Any

from inference_api.metrics import RouteStatistics
from inference_api.problems import (
    InvalidBodyError,
    ServiceError,
    body_too_large,
    encode_detail,
)
from inference_api.store import ModelStore

logger = logging.getLogger(__name__)

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


class _ClientGoneError(Exception):
    """The client closed the connection before its request was complete."""


class PredictEndpoint:
    """The ASGI application behind :data:`PATH`.

    Args:
        store: Where the models are.
        max_body_bytes: The largest body that is accepted.
        replica: This replica's identity.
        statistics: What counts the requests.
    """

    def __init__(
        self, store: ModelStore, max_body_bytes: int, replica: bytes, statistics: RouteStatistics
    ) -> None:
        self._store = store
        self._max_body_bytes = max_body_bytes
        self._content_type = (b"content-type", b"application/json")
        self._replica = (REPLICA_HEADER.lower().encode(), replica)
        self._statistics = statistics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = perf_counter()
        status = 200
        extra: Headers = []
        try:
            if scope["method"] != "POST":
                extra.append((b"allow", b"POST"))
                raise ServiceError(405, f"{PATH} answers POST only.")
            selection = self._read_head(scope["headers"])
            body = await self._read_body(receive)
            if selection is None:
                model = self._store.default
                if model is None:
                    raise self._store.explain_no_default()
            else:
                model = await self._store.resolve(selection)
            model.last_used = started
            rows, count = model.decode(body)
            answer = model.predict(rows, count)
        except InvalidBodyError as error:
            status = 422
            answer = encode_detail(error.problems)
        except ServiceError as error:
            status = error.status
            answer = encode_detail(error.detail)
            if error.retry_after is not None:
                extra.append((b"retry-after", b"%d" % error.retry_after))
        except _ClientGoneError:
            return
        except Exception:
            logger.exception("a prediction failed")
            status = 500
            answer = encode_detail("The service failed; its log says why.")
        self._statistics.observe(status, perf_counter() - started)
        length = (b"content-length", b"%d" % len(answer))
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [self._content_type, length, self._replica, *extra],
            }
        )
        await send({"type": "http.response.body", "body": answer})

    def _read_head(self, headers: Headers) -> str | None:
        """Return the client's selection, if it made one.

        Raises:
            ServiceError: 413, the announced body is too large.
        """
        cookie = None
        for name, value in headers:
            if name == b"content-length":
                if int(value) > self._max_body_bytes:
                    raise body_too_large(self._max_body_bytes)
            elif name == _SELECTION_HEADER:
                if value:
                    return value.decode("latin-1")
            elif name == b"cookie" and cookie is None:
                cookie = _selection_in_cookie(value)
        return cookie

    async def _read_body(self, receive: Receive) -> bytes:
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
            if not message.get("more_body", False):
                # The usual request is one packet.
                return b"".join([*chunks, chunk]) if chunks else chunk
            chunks.append(chunk)


def _selection_in_cookie(header: bytes) -> str | None:
    for part in header.split(b";"):
        name, _, value = part.partition(b"=")
        if name.strip() == _SELECTION_COOKIE:
            return value.strip(b' "').decode("latin-1") or None
    return None
