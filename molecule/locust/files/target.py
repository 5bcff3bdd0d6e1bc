"""A server that answers like the inference API, and tells what it was asked to predict."""

from __future__ import annotations

import json
import ssl
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

asked: list[dict[str, Any]] = []


class Target(BaseHTTPRequestHandler):
    """Knows two models, and predicts with the one that was selected last."""

    protocol_version = "HTTP/1.1"
    model_name = "modelo1"

    def do_GET(self) -> None:
        """Answer like the inference API; `/asked` gives the bodies of all predictions."""
        if self.path == "/asked":
            self._answer(asked)
        else:
            self._answer({"models": [self._model(name) for name in ("modelo1", "modelo2")]})

    def do_POST(self) -> None:
        """Answer like the inference API."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/select-model":
            Target.model_name = body["model_name"]
            value = {"value": self.model_name, "cookie": "model", "header": "X-Model"}
            self._answer(value | {"model": self._model(self.model_name)})
        else:
            asked.append(body)
            label = {"class_number": 1, "class_name": "Lodgepole Pine"}
            self._answer({"predictions": [label], "model": self._model(self.model_name)})

    def _model(self, name: str) -> dict[str, str]:
        return {"name": name, "version": "1"}

    def _answer(self, answer: object) -> None:
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep the log free of requests."""


class Server(ThreadingHTTPServer):
    """Takes a whole crowd of clients that come at the same moment."""

    request_queue_size = 256


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/opt/certificates/server.crt", "/opt/certificates/server.key")
server = Server(("", 8000), Target)
# The handshake is each connection's own thread's, so that none waits for another's.
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
