import resource
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import gevent  # type: ignore[import-untyped]
import pytest
from gevent.socket import socketpair  # type: ignore[import-untyped]
from geventhttpclient import HTTPClient
from geventhttpclient.connectionpool import ConnectionPool

from load_test.many_clients import allow_many_clients
from tests.conftest import FakeApi

# The first file number that `select` does not know.
BEYOND_SELECT = 1024


@pytest.fixture
def many_files() -> Iterator[None]:
    """All file numbers that `select` knows are taken."""
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limit, 2 * BEYOND_SELECT), most))
    with ExitStack() as files:
        for _ in range(BEYOND_SELECT):
            files.enter_context(Path("/dev/null").open("rb"))
        yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))


def test_a_connection_is_kept_however_many_there_are(api: FakeApi, many_files: None) -> None:
    allow_many_clients()
    client = HTTPClient.from_url(api.url)
    for _ in range(3):
        assert client.get("/models").read()
    assert api.connections == [3]
    client.close()


def test_a_connection_that_was_closed_is_not_used_again() -> None:
    allow_many_clients()
    pool = ConnectionPool("127.0.0.1", 9, "127.0.0.1", 9)
    own, other = socketpair()
    assert pool._is_socket_alive(own)
    other.send(b"unasked")
    assert not pool._is_socket_alive(own)
    own.recv(100)
    assert pool._is_socket_alive(own)
    other.close()
    assert not pool._is_socket_alive(own)
    own.close()
    assert not pool._is_socket_alive(own)


def test_who_waited_longest_goes_on_first() -> None:
    allow_many_clients()
    # More than the event loop looks at in one round, at the beginning.
    pairs = [socketpair() for _ in range(100)]
    order: list[int] = []

    def wait(number: int) -> None:
        pairs[number][0].recv(1)
        order.append(number)

    clients = [gevent.spawn(wait, number) for number in range(len(pairs))]
    gevent.sleep(0)
    for _, other in pairs:
        other.send(b"1")
    gevent.joinall(clients, timeout=10)
    assert order == list(range(len(pairs)))


def test_who_waits_can_give_up() -> None:
    allow_many_clients()
    own, _other = socketpair()
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.01):
        own.recv(1)
    client = gevent.spawn(own.recv, 1)
    gevent.sleep(0)
    own.close()
    with pytest.raises(OSError, match="closed"):
        client.get(timeout=10)
