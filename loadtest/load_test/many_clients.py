"""Lets one process be thousands of clients.

Before each request geventhttpclient (2.6.1) asks `select` whether the kept connection is still
good. `select` knows no file from number 1024 on: all connections beyond were taken for dead and
made anew for every request, and their clients waited for minutes.

gevent starts and ends clients for 5 ms, then serves those that wait for answers, all of them. With
thousands of those, that is a second and more, and clients came and went at some 25 in each.

Of all answers that have come, gevent sees to the last one first. Where thousands come while one
round lasts, whoever asked at its end got the answer at the beginning of the next one, and whoever
asked at its beginning waited for two whole rounds: half of 10,000 clients 2.5 s, some 7.9 s.

Python looks through all objects whenever a quarter as many have lasted for a moment. What belongs
to thousands of requests in flight does, so it looked every few seconds; 10,000 clients got 2,500
and 2,700 answers a second with that, 3,100 without. The new ones it looked through three times in
each round, 0.1 to 0.3 s each.
"""

import gc
import select
from typing import Any, ClassVar

import gevent  # type: ignore[import-untyped]
import gevent.socket  # type: ignore[import-untyped]
from gevent.exceptions import InvalidSwitchError  # type: ignore[import-untyped]
from gevent.hub import Hub, Waiter  # type: ignore[import-untyped]
from gevent.monkey import get_original  # type: ignore[import-untyped]
from geventhttpclient.connectionpool import ConnectionPool

_START_AND_END_SECONDS = 0.2
# New objects before the new ones are looked through, and how many such times before the others are:
# more than the requests of a round make and drop again.
_COLLECTIONS = (400_000, 50, 100)

# Not gevent's own, which switches to other clients even where it is not to wait.
_poll = get_original("select", "poll")


def allow_many_clients() -> None:
    """Have this process keep many connections, lose no time on clients and see to them in turn."""
    ConnectionPool._is_socket_alive = _is_alive  # type: ignore[assignment,method-assign]
    Hub.wait = _wait_in_turn
    gevent.setswitchinterval(_START_AND_END_SECONDS)
    gc.set_threshold(*_COLLECTIONS)


def _is_alive(_pool: ConnectionPool, connection: gevent.socket.socket | None) -> bool:
    """Tell whether a connection that waits for its next request can carry one."""
    if connection is None or connection.fileno() < 0:
        return False
    looked = _poll()
    looked.register(connection.fileno(), select.POLLIN)
    # Something to read is the other side's farewell, or what nobody asked for.
    return not looked.poll(0)


class _Place(Waiter):  # type: ignore[misc]
    """A client's place among those that wait for something to come."""

    _come: ClassVar[list["_Place"]] = []

    def come(self, _value: object) -> None:
        """Note that it has come; all that have are seen to at the end of the event loop's round."""
        if not self._come:
            gevent.get_hub().loop.run_callback(self._see_to_all)
        self._come.append(self)

    @classmethod
    def _see_to_all(cls) -> None:
        # The event loop has told the last one first.
        places = cls._come[::-1]
        cls._come.clear()
        for place in places:
            place.switch(place)


def _wait_in_turn(hub: Hub, watcher: Any) -> None:
    """Wait as gevent's own `Hub.wait` does, until a watcher tells and it is one's turn."""
    place = _Place(hub)
    watcher.start(place.come, place)
    try:
        if place.get() is not place:
            raise InvalidSwitchError(f"{place!r} was left before {watcher!r} told")
    finally:
        watcher.stop()
