"""Runs one replica: ``python -m inference_api``."""

import gc
import logging
import os
import sys

import uvicorn
from pydantic import ValidationError

from inference_api import logs
from inference_api.app import Application
from inference_api.server import Server, bind_unix_socket
from inference_api.settings import Settings

# What the kernel allows (net.core.somaxconn) is less.
_BACKLOG = 65_535
# More than nginx keeps an idle upstream connection (60 s): it is nginx that closes it, never
# this side in the moment in which a request is on its way.
_KEEP_ALIVE_SECONDS = 75
_GRACEFUL_SECONDS = 10


def main() -> int:
    """Serve until a signal ends it; requests in flight are finished.

    Returns:
        The process's exit code.
    """
    try:
        settings = Settings()  # type: ignore[call-arg] # its fields come from the environment
    except ValidationError as error:
        # Not str(error): it shows the values, and one may be a secret.
        for found in error.errors(include_input=False, include_url=False):
            where = "_".join(map(str, found["loc"])).upper() or "settings"
            print(f"{where}: {found['msg']}", file=sys.stderr)
        return 2
    logs.configure(settings.log_level)
    logger = logging.getLogger("inference_api")
    try:
        application = Application(settings)
    except OSError:
        logger.exception("CACHE_DIR cannot be used", extra={"cache_dir": settings.cache_dir})
        return 2
    config = uvicorn.Config(
        application,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=application.protocol,
        ws="none",
        lifespan="on",
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_GRACEFUL_SECONDS,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_config=None,
    )
    listeners = [config.bind_socket()]
    if settings.socket_path:
        try:
            listeners.append(bind_unix_socket(settings.socket_path))
        except OSError:
            logger.exception(
                "SOCKET_PATH cannot be used", extra={"socket_path": settings.socket_path}
            )
            return 2
    server = Server(config)
    # What the application is made of stays for good. The garbage collector looking through it
    # would stop the event loop: 45 ms on a free core, eight times that with an eighth of one.
    gc.collect()
    gc.freeze()
    server.run(sockets=listeners)
    return 0 if server.started else 1


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # Not sys.exit: a model that is just being loaded cannot be interrupted, and the
    # interpreter's end must not pull it away under ONNX Runtime's feet.
    os._exit(code)
