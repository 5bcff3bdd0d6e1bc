"""What the tests share: an inference API that answers what a test says."""

import json
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

MODEL = {"name": "modelo1", "version": "3"}
MODELS = {"models": [MODEL | {"created": "2026-01-01T00:00:00Z", "metrics": {"accuracy": 0.9}}]}
SELECTED = {"model": MODEL, "value": "modelo1", "cookie": "model", "header": "X-Model"}
PREDICTED = {"predictions": [{"class_number": 1, "class_name": "Lodgepole Pine"}], "model": MODEL}


class FakeApi:
    """A web server on this host.

    Attributes:
        answers: Status and body by path.
        asked: Path, body and selection of each request.
        connections: How many requests came over each.
        certificate: What it shows, with its key beside it; None for plain HTTP.
        before_answer: Called before each answer with the number of requests so far.
    """

    def __init__(self, certificate: Path | None = None) -> None:
        self.certificate = certificate
        self.answers: dict[str, tuple[int, Any]] = {
            "/models": (200, MODELS),
            "/select-model": (200, SELECTED),
            "/predict": (200, PREDICTED),
        }
        self.asked: list[tuple[str, bytes, str | None]] = []
        self.connections: list[int] = []
        self.before_answer: Callable[[int], None] = lambda number: None
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # An answer goes out in one piece, at once.
            wbufsize = -1
            disable_nagle_algorithm = True

            def setup(self) -> None:
                self._number = len(owner.connections)
                owner.connections.append(0)
                super().setup()

            def _handle(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                owner.asked.append((self.path, body, self.headers.get("X-Model")))
                owner.connections[self._number] += 1
                owner.before_answer(len(owner.asked))
                status, answer = owner.answers[self.path]
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
                self.wfile.flush()

            do_GET = do_POST = _handle  # noqa: N815 - the names that http.server calls

            def log_message(self, *_: object) -> None:
                """Keep the tests' output free of requests."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, certificate.with_suffix(".key"))
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def url(self) -> str:
        scheme = "https" if self.certificate else "http"
        return f"{scheme}://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def api() -> Iterator[FakeApi]:
    running = FakeApi()
    yield running
    running.close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 that is its own authority."""
    folder = tmp_path_factory.mktemp("certificate")
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=me"
    subprocess.run(
        [
            *(*make.split(), "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", folder / "own.key", "-out", folder / "own.crt"),
        ],
        check=True,
        capture_output=True,
    )
    return folder / "own.crt"


@pytest.fixture
def sealed_api(certificate: Path) -> Iterator[FakeApi]:
    running = FakeApi(certificate)
    yield running
    running.close()
