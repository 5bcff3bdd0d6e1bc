"""A server at a port and a Unix socket that answers with its own name and what it was asked."""

from __future__ import annotations

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import ThreadingUnixStreamServer


class Echo(BaseHTTPRequestHandler):
    """Answers every request with what came."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer; the body is read first, so that the connection can be used again."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = json.dumps(
            {
                "server": socket.gethostname(),
                "method": self.command,
                "path": self.path,
                "headers": {name.lower(): value for name, value in self.headers.items()},
            }
        ).encode()
        if self.path == "/slow":
            time.sleep(2)
        self.send_response(503 if self.path == "/unready" else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 (the name that the base class looks for)

    def address_string(self) -> str:
        """Who asks, for the log; by a Unix socket, nobody has an address."""
        return "nginx"


path = Path("/run/sockets") / f"{socket.gethostname()}.sock"
path.unlink(missing_ok=True)
near = ThreadingUnixStreamServer(str(path), Echo)
path.chmod(0o666)
threading.Thread(target=near.serve_forever, daemon=True).start()
ThreadingHTTPServer(("", 8000), Echo).serve_forever()
