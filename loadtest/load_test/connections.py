"""Lets one process keep more than a thousand connections.

Before each request geventhttpclient (2.6.1) asks `select` whether the kept connection is still
good. `select` knows no file from number 1024 on: all connections beyond were taken for dead and
made anew for every request, and their clients waited for minutes.
"""

import select

import gevent.socket  # type: ignore[import-untyped]
from gevent.monkey import get_original  # type: ignore[import-untyped]
from geventhttpclient.connectionpool import ConnectionPool

# Not gevent's own, which switches to other clients even where it is not to wait.
_poll = get_original("select", "poll")


def keep_many_connections() -> None:
    """Have all clients of this process look at their connections in a way that takes any number."""
    ConnectionPool._is_socket_alive = _is_alive  # type: ignore[assignment,method-assign]


def _is_alive(_pool: ConnectionPool, connection: gevent.socket.socket | None) -> bool:
    """Tell whether a connection that waits for its next request can carry one."""
    if connection is None or connection.fileno() < 0:
        return False
    looked = _poll()
    looked.register(connection.fileno(), select.POLLIN)
    # Something to read is the other side's farewell, or what nobody asked for.
    return not looked.poll(0)
