"""Requests to addresses with a certificate."""

import http.server
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from control.errors import ControlError
from control.rest import UnreachableError, send


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"well": true}')

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def port(certificate: Path) -> Iterator[int]:
    """Where a server answers with it."""
    server = http.server.HTTPServer(("127.0.0.1", 0), _Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_trusts_the_authority_that_it_is_given(certificate: Path, port: int) -> None:
    answer = send("GET", f"https://127.0.0.1:{port}/", trusted=(certificate,))
    assert answer.body == {"well": True}


def test_says_what_to_do_about_a_certificate_from_elsewhere(port: int) -> None:
    with pytest.raises(UnreachableError, match=r"certificate is not to be trusted.*make up"):
        send("GET", f"https://127.0.0.1:{port}/")


def test_a_certificate_is_for_one_name(certificate: Path, port: int) -> None:
    with pytest.raises(UnreachableError, match="not to be trusted"):
        send("GET", f"https://localhost:{port}/", trusted=(certificate,))


def test_says_what_makes_a_missing_authority(tmp_path: Path, port: int) -> None:
    with pytest.raises(ControlError, match="make up"):
        send("GET", f"https://127.0.0.1:{port}/", trusted=(tmp_path / "ca.crt",))
