"""Connections are accepted however busy those are that are there."""

import asyncio
import errno
import logging
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from inference_api import server
from tests.conftest import running

CONNECTIONS = 100
REQUEST = b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n"


class BusyApplication:
    """Answers everything with 204, in an event loop that always has something else to do."""

    def __init__(self) -> None:
        self.turns = 0
        """How often the loop has come round."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request, or begin to be busy."""
        if scope["type"] == "lifespan":
            await receive()
            self._have_a_turn()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        else:
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    def _have_a_turn(self) -> None:
        self.turns += 1
        time.sleep(0.005)
        asyncio.get_running_loop().call_soon(self._have_a_turn)


def make_server(application: BusyApplication) -> server.Server:
    return server.Server(
        uvicorn.Config(application, loop="uvloop", http="httptools", log_config=None)
    )


def ask(address: Any) -> socket.socket:
    connection = socket.create_connection(address, timeout=10)
    connection.sendall(REQUEST)
    return connection


def answer(connection: socket.socket) -> bytes:
    with connection, connection.makefile("rb") as received:
        return received.read()


def test_all_that_wait_are_taken_in_together() -> None:
    application = BusyApplication()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        with running(make_server(application), listener):
            before = application.turns
            connections = [ask(address) for _ in range(CONNECTIONS)]
            answers = [answer(connection) for connection in connections]
            turns = application.turns - before
    assert all(found.startswith(b"HTTP/1.1 204 ") for found in answers)
    assert turns < CONNECTIONS / 2  # uvloop alone takes in one in each turn
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


def ask_by_file(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(10)
    connection.connect(str(path))
    connection.sendall(REQUEST)
    return connection


def test_a_unix_socket_answers_every_user_and_replaces_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "server.sock"
    server.bind_unix_socket(path).close()  # as a server that was killed leaves it
    with pytest.raises(ConnectionRefusedError):
        ask_by_file(path)
    with running(make_server(BusyApplication()), server.bind_unix_socket(path)):
        assert path.stat().st_mode & 0o777 == 0o666
        assert answer(ask_by_file(path)).startswith(b"HTTP/1.1 204 ")
    with pytest.raises(ConnectionRefusedError):
        ask_by_file(path)


def test_what_is_no_socket_is_not_replaced_by_one(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("dear")
    with pytest.raises(OSError, match="in use"):
        server.bind_unix_socket(path)
    assert path.read_text() == "dear"


class ExhaustedSocket(socket.socket):
    """Has one file too many, once."""

    exhausted = True

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection, or fail."""
        if self.exhausted:
            self.exhausted = False
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


def test_after_too_many_open_files_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server, "_PAUSE_SECONDS", 0.1)
    with ExhaustedSocket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with caplog.at_level(logging.ERROR), running(make_server(BusyApplication()), listener):
            assert answer(ask(listener.getsockname())).startswith(b"HTTP/1.1 204 ")
    assert [record.message for record in caplog.records] == ["no connection can be accepted"]
