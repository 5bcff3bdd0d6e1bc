"""A server that answers like Airflow and the inference API where the portal asks them."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Services(BaseHTTPRequestHandler):
    """Knows one model, one DAG and one password."""

    def do_GET(self) -> None:
        """Answer the lists; everything else is well."""
        if self.path == "/models":
            model = {"name": "modelo1", "version": "7", "metrics": {"accuracy": 0.94}}
            self._answer(200, {"models": [model]})
        elif self.path.startswith("/api/v2/dags/probe/"):
            known = self.headers["Authorization"] == "Bearer token"
            run = {"state": "success", "end_date": "2026-11-27T05:00:00Z"}
            self._answer(200 if known else 401, {"dag_runs": [run]})
        else:
            self._answer(200, {})

    def do_POST(self) -> None:
        """Log in."""
        login = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        right = login == {"username": "portal", "password": "Zr5tYu7iOp9aSd2fGh4j"}
        self._answer(201 if right else 401, {"access_token": "token"})

    def _answer(self, status: int, answer: object) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep the log free of requests."""


ThreadingHTTPServer(("", 8000), Services).serve_forever()
