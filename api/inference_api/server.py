"""Uvicorn's server, which takes in all connections that wait.

Left to uvloop, one connection is taken in each time it asks the system what is ready (libuv's way
since 1.45). While those that are there ask without pause, the next ones wait: at a quarter of a
core and twice its capacity, 10 to 25 were taken in a second, and 1,800 of 2,500 waited for up to a
minute, with the requests that nginx had sent over them.
"""

import asyncio
import logging
import socket
from pathlib import Path

import uvicorn

logger = logging.getLogger(__name__)

# Others have their turn between.
_CONNECTIONS_AT_ONCE = 1024
# Before it is tried again, where there are too many open files.
_PAUSE_SECONDS = 1.0


def bind_unix_socket(path: Path) -> socket.socket:
    """A Unix socket for `Server.run`, which every user that can reach the file may connect to.

    Args:
        path: the file; a socket that an earlier server has left there is replaced.

    Raises:
        OSError: The file cannot be made, or is something else than a socket.
    """
    if path.is_socket():
        path.unlink()
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(path))
        path.chmod(0o666)
    except OSError:
        listener.close()
        raise
    return listener


class Server(uvicorn.Server):
    """A server that accepts connections itself, and leaves everything else to uvicorn.

    Args:
        config: Uvicorn's. Without TLS; where it listens is what `run` is given.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._listeners: list[socket.socket] = []
        self._adoptions: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn.Server."""
        await super().startup(sockets=[])  # everything but to listen
        self._listeners = sockets or []
        for listener in self._listeners:
            listener.setblocking(False)
            listener.listen(self.config.backlog)
            self._begin_to_accept(listener)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn.Server."""
        loop = asyncio.get_running_loop()
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            loop.remove_reader(listener)
        await super().shutdown(sockets=listeners)

    def _begin_to_accept(self, listener: socket.socket) -> None:
        if listener in self._listeners:  # and not closed meanwhile
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_CONNECTIONS_AT_ONCE):
            try:
                connection, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:
                logger.exception("no connection can be accepted")
                loop = asyncio.get_running_loop()
                loop.remove_reader(listener)
                loop.call_later(_PAUSE_SECONDS, self._begin_to_accept, listener)
                return
            connection.setblocking(False)
            adoption = asyncio.create_task(self._adopt(connection))
            self._adoptions.add(adoption)
            adoption.add_done_callback(self._adoptions.discard)

    async def _adopt(self, connection: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)
        except OSError:
            connection.close()  # its client has gone

    def _protocol(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg] # as uvicorn makes it
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
