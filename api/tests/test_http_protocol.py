"""The short way for plain requests answers, byte for byte, as uvicorn's own protocol does."""

import json
import re
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn

from tests.conftest import MakeSettings, Replica, running, wait_until
from tests.fake_mlflow import FakeMlflow
from tests.graphs import EXAMPLE, files

BODY = json.dumps(EXAMPLE).encode()
HEAD = b"POST /predict HTTP/1.1\r\nhost: x\r\n"
LENGTH = b"content-length: %d\r\n" % len(BODY)
PLAIN = HEAD + LENGTH + b"\r\n" + BODY
MODELS = b"GET /models HTTP/1.1\r\nhost: x\r\n\r\n"


def selecting(body: bytes, more: bytes = b"") -> bytes:
    """A request to select a model."""
    return b"POST /select-model HTTP/1.1\r\nhost: x\r\n%bcontent-length: %d\r\n\r\n%b" % (
        more,
        len(body),
        body,
    )


SELECT = selecting(b'{"model_name": "modelo1", "version": "1"}')
CHUNKS = b"5\r\n" + BODY[:5] + b"\r\n%x\r\n" % (len(BODY) - 5) + BODY[5:] + b"\r\n0\r\n\r\n"
# Comes after each of the others, so that the connection is seen to go on, and then to end.
LAST = b"GET /health/ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"

REQUESTS = {
    "plain": PLAIN,
    "pipelined": PLAIN * 5,
    "pipelined with others": PLAIN + LAST.replace(b"connection: close\r\n", b"") + PLAIN,
    "an invalid body": HEAD + b"content-length: 2\r\n\r\n{}",
    "no body": HEAD + b"content-length: 0\r\n\r\n",
    "neither length nor body": HEAD + b"\r\n",
    "capitals": PLAIN.replace(b"content-length", b"Content-LENGTH"),
    "selected by header": HEAD + b"X-Model: modelo1/1\r\n" + LENGTH + b"\r\n" + BODY,
    "selected by cookie": HEAD + b"Cookie: a=b; model=modelo1\r\n" + LENGTH + b"\r\n" + BODY,
    "selected in vain": HEAD + b"X-Model: nobody\r\n" + LENGTH + b"\r\n" + BODY,
    "the last one": HEAD + b"Connection: close\r\n" + LENGTH + b"\r\n" + BODY,
    "HTTP/1.0": PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "HTTP/1.0 with keep-alive": HEAD.replace(b"1.1", b"1.0")
    + b"connection: keep-alive\r\n"
    + LENGTH
    + b"\r\n"
    + BODY,
    "chunked": HEAD + b"transfer-encoding: chunked\r\n\r\n" + CHUNKS,
    "chunked with a length": HEAD + LENGTH + b"transfer-encoding: chunked\r\n\r\n" + CHUNKS,
    "expecting": HEAD + b"Expect: 100-continue\r\n" + LENGTH + b"\r\n" + BODY,
    "too large": HEAD + b"content-length: 3000000\r\n\r\n" + b" " * 3_000_000,
    "too large in chunks": HEAD
    + b"transfer-encoding: chunked\r\n\r\n"
    + (b"20000\r\n" + b" " * 0x20000 + b"\r\n") * 17
    + b"0\r\n\r\n",
    "GET": b"GET /predict HTTP/1.1\r\nhost: x\r\n\r\n",
    "HEAD": b"HEAD /predict HTTP/1.1\r\nhost: x\r\n\r\n",
    "PUT": PLAIN.replace(b"POST", b"PUT"),
    "with a query": PLAIN.replace(b"/predict", b"/predict?x=1"),
    "with an escape": PLAIN.replace(b"/predict", b"/%70redict"),
    "with a slash": PLAIN.replace(b"/predict", b"/predict/"),
    "with a host": PLAIN.replace(b"/predict", b"http://x/predict"),
    "an upgrade": HEAD
    + b"connection: upgrade, close\r\nupgrade: websocket\r\n"
    + LENGTH
    + b"\r\n"
    + BODY,
    "another route": b"POST /select-model HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}",
    "the models": MODELS,
    "the models and no more": MODELS.replace(b"host", b"connection: close\r\nhost"),
    "the models in HTTP/1.0": MODELS.replace(b"1.1", b"1.0"),
    "the models with a query": MODELS.replace(b"/models", b"/models?x=1"),
    "the models with a body": MODELS[:-2] + b"content-length: 2\r\n\r\n{}",
    "the models with a body in chunks": MODELS[:-2]
    + b"transfer-encoding: chunked\r\n\r\n"
    + CHUNKS,
    "the models' head": MODELS.replace(b"GET", b"HEAD"),
    "the models by POST": MODELS.replace(b"GET", b"POST"),
    "a selection": SELECT,
    "a selection by number": selecting(b'{"model_name": "modelo1", "version": 1}'),
    "a selection of whatever is in production": selecting(b'{"model_name": "modelo1"}'),
    "a selection in another encoding": selecting('{"model_name": "modelo1"}'.encode("utf-16")),
    "a selection as a form": selecting(
        b'{"model_name": "modelo1"}', b"content-type: application/x-www-form-urlencoded\r\n"
    ),
    "a selection of an unknown model": selecting(b'{"model_name": "nobody"}'),
    "a selection of an unknown version": selecting(b'{"model_name": "modelo1", "version": 9}'),
    "a selection of too much": selecting(b'{"model_name": "modelo1", "more": 1}'),
    "a selection that is no JSON": selecting(b"{"),
    "a selection that is no text": selecting(b"\xff\xff"),
    "a selection that is empty": selecting(b""),
    "a selection that is too large": selecting(b" " * 3_000_000),
    "a selection in chunks": b"POST /select-model HTTP/1.1\r\nhost: x\r\n"
    b"transfer-encoding: chunked\r\n\r\n" + CHUNKS,
    "everything at once": (MODELS + SELECT + PLAIN + selecting(b"{}")) * 3,
    "an unknown method": PLAIN.replace(b"POST", b"POSE"),
    "a negative length": HEAD + b"content-length: -1\r\n\r\n",
    "two lengths": HEAD + LENGTH + LENGTH + b"\r\n" + BODY,
    "no HTTP": b"hello\r\n\r\n",
    "no HTTP after a prediction": PLAIN + b"hello\r\n\r\n",
}


def exchange(url: str, parts: list[bytes]) -> bytes:
    """Send parts one after the other; return everything that comes back, without the date."""
    host, port = url.removeprefix("http://").split(":")
    received = b""
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def send() -> None:
            for part in parts:
                try:
                    connection.sendall(part)
                except ConnectionError:
                    return  # answered before all was sent

        sending = threading.Thread(target=send)
        sending.start()
        try:
            while chunk := connection.recv(65536):
                received += chunk
        except ConnectionResetError:
            pass  # closed with something unread
        sending.join()
    return re.sub(rb"(?m)^date: .*\r\n", b"", received)


@pytest.fixture(scope="session")
def plain_url(steady: Replica) -> Iterator[str]:
    """The same replica behind uvicorn's own protocol."""
    config = uvicorn.Config(
        steady.application,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
    )
    listening = socket.create_server(("127.0.0.1", 0))
    with listening, running(uvicorn.Server(config), listening):
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize("name", REQUESTS)
def test_both_ways_answer_alike(steady: Replica, plain_url: str, name: str) -> None:
    sent = REQUESTS[name] + LAST
    answer = exchange(steady.url, [sent])
    assert answer.startswith(b"HTTP/1.1 ")
    assert answer == exchange(plain_url, [sent])


@pytest.mark.parametrize(
    "name",
    [
        "pipelined",
        "an invalid body",
        "selected by cookie",
        "chunked",
        "a selection",
        "a selection of too much",
        "everything at once",
    ],
)
def test_a_request_may_come_byte_by_byte(steady: Replica, name: str) -> None:
    sent = REQUESTS[name] + LAST
    in_bytes = exchange(steady.url, [bytes([byte]) for byte in sent])
    assert in_bytes == exchange(steady.url, [sent])


def test_both_ways_refuse_alike(
    steady: Replica, plain_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if there were no time at all to wait.
    monkeypatch.setattr(steady.application.protocol.queue, "_max_wait_seconds", -1.0)
    rows = json.dumps([EXAMPLE] * 100).encode()
    sent = HEAD + b"content-length: %d\r\n\r\n" % len(rows) + rows + LAST
    answer = exchange(steady.url, [sent])
    assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"\r\nretry-after: 1\r\n" in answer
    assert answer == exchange(plain_url, [sent])


def test_the_short_way_is_taken(steady: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the long way was taken")

    monkeypatch.setattr(steady.application, "_predict", refuse)
    assert exchange(steady.url, [PLAIN + LAST]).startswith(b"HTTP/1.1 200 OK")
    assert exchange(steady.url, [HEAD + b"\r\n" + LAST]).startswith(b"HTTP/1.1 500")
    monkeypatch.setattr(steady.application, "_rest", refuse)
    for plain in (MODELS, SELECT):
        assert exchange(steady.url, [plain + LAST]).startswith(b"HTTP/1.1 200 OK")
    assert exchange(steady.url, [selecting(b"{}") + LAST]).startswith(b"HTTP/1.1 500")


def test_the_short_way_counts_its_requests(steady: Replica) -> None:
    def counted(route: str) -> float:
        return steady.metric(f'inference_requests_total{{route="{route}",status="200"}}')

    steady.client.get("/models")
    before = counted("/models"), counted("/select-model")
    exchange(steady.url, [MODELS * 3 + SELECT * 2 + selecting(b"{}") + LAST])
    assert (counted("/models"), counted("/select-model")) == (before[0] + 3, before[1] + 2)


def test_an_idle_connection_is_closed_and_one_in_use_is_not(
    mlflow: FakeMlflow, make_settings: MakeSettings
) -> None:
    mlflow.publish(files())
    with Replica(make_settings(), keep_alive_seconds=0.4) as replica:
        replica.wait_for_version("1")
        host, port = replica.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            for _ in range(4):
                connection.sendall(PLAIN)
                assert connection.recv(65536).startswith(b"HTTP/1.1 200")
                time.sleep(0.2)
            # A request that is on its way keeps it open too.
            connection.sendall(PLAIN[:30])
            time.sleep(0.6)
            connection.sendall(PLAIN[30:])
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
            started = time.monotonic()
            assert connection.recv(1) == b""
            assert 0.3 < time.monotonic() - started < 2


def test_a_client_that_leaves_is_forgotten(replica: Replica) -> None:
    host, port = replica.url.removeprefix("http://").split(":")
    for sent in (PLAIN, PLAIN[:-1], PLAIN * 100):
        with socket.create_connection((host, int(port))) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.sendall(sent)
    wait_until(lambda: replica.connections() == 1, "only the client's own connection is left")
    assert replica.predict(EXAMPLE).status_code == 200
