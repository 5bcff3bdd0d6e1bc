"""The service in the forms that were tried: ``python -m bench.peers.variants VARIANT``.

Its other settings are the service's environment variables.
"""

import sys
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

from inference_api import prediction_queue
from inference_api.app import Application
from inference_api.settings import Settings

NO_MODEL = "uvicorn alone, a fixed answer"
ASGI = "ASGI application"
SINGLE = "short way, one request a call"
SHARED = "short way, requests of a turn share a call"
VARIANTS = (NO_MODEL, ASGI, SINGLE, SHARED)

_BODY = b'{"predictions":[{"class_number":0,"class_name":"x"}],"model":{"name":"x","version":"1"}}'


async def _fixed_answer(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[Any]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    if scope["type"] != "http":
        return
    await receive()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_BODY))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": _BODY})


def main() -> None:
    """Serve."""
    (variant,) = sys.argv[1:]
    settings = Settings()  # type: ignore[call-arg] # its fields come from the environment
    application: Any = _fixed_answer if variant == NO_MODEL else Application(settings)
    if variant == SINGLE:
        prediction_queue._TURN_REQUESTS = 1
    uvicorn.run(
        application,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=application.protocol if variant in (SINGLE, SHARED) else "httptools",
        ws="none",
        lifespan="off" if variant == NO_MODEL else "on",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
