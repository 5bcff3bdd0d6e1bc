"""A client of JupyterLab that does over HTTP and a WebSocket what a person does in the browser.

It runs in JupyterLab's own container, which has the libraries. Its argument is a JSON object:
`url`, `password`, for an https address `authority`, a file, and unless the login alone is asked for
either `code` or `notebook`, a path; with `copy`, the notebook is saved under that path as it looks
after its run. With `replaced`, another connection has had this one's place, as when a kernel is
started again, and says something still. It prints another one: `refused`, or `printed`, what the
code wrote, `status`, how it ended, and `shown`, how many outputs each cell has.
"""

from __future__ import annotations

import json
import sys
import uuid
from typing import Any

import requests  # type: ignore[import-untyped]
import websocket  # type: ignore[import-not-found]
from jupyter_server.services.kernels.connection.base import (  # type: ignore[import-not-found]
    deserialize_msg_from_ws_v1,
    serialize_msg_to_ws_v1,
)

_SECONDS = 60
# That of JupyterLab's page.
_PROTOCOL = "v1.kernel.websocket.jupyter.org"
_OUTPUTS = ("display_data", "error", "execute_result", "stream")


class Client:
    """A browser's session.

    Attributes:
        url: address of the server.
        session: the connection, with the cookies of the login.
        authority: a file with the certificate that an https address's own is checked with.
    """

    def __init__(self, url: str, authority: str | None) -> None:
        self.url = url
        self.authority = authority
        self.session = requests.Session()
        self.session.trust_env = False
        if authority:
            self.session.verify = authority

    def log_in(self, password: str) -> bool:
        """Fill in the login page; tell whether JupyterLab took it."""
        self.session.get(f"{self.url}/login", timeout=_SECONDS).raise_for_status()
        form = {"password": password, "_xsrf": self.session.cookies["_xsrf"]}
        self.session.post(f"{self.url}/login", form, timeout=_SECONDS)
        self.session.headers["X-XSRFToken"] = self.session.cookies["_xsrf"]
        return bool(self.session.get(f"{self.url}/api/contents", timeout=_SECONDS).ok)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Ask the server's API; return what it answers, None where that is empty."""
        answer = self.session.request(method, f"{self.url}/api/{path}", json=body, timeout=_SECONDS)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def run(self, cells: list[dict[str, Any]], *, replaced: bool = False) -> str:
        """Run code cells in a kernel of their own up to the first that fails; tell how that ended.

        Each cell gets its outputs. With `replaced`, a message comes before over another connection,
        whose place this one has just taken.
        """
        kernel = self.ask("POST", "kernels", {"name": "python3"})["id"]
        session = uuid.uuid4().hex
        try:
            connection = self._connect(kernel, session)
            if replaced:
                late, connection = connection, self._connect(kernel, session)
                _send(late, "kernel_info_request", {})
            for cell in cells:
                status = _execute(connection, cell)
                if status != "ok":
                    return status
            return "ok"
        finally:
            self.ask("DELETE", f"kernels/{kernel}")

    def _connect(self, kernel: str, session: str) -> websocket.WebSocket:
        return websocket.create_connection(
            f"{self.url.replace('http', 'ws', 1)}/api/kernels/{kernel}/channels"
            f"?session_id={session}",
            timeout=_SECONDS,
            sslopt={"ca_certs": self.authority} if self.authority else {},
            cookie="; ".join(f"{name}={value}" for name, value in self.session.cookies.items()),
            subprotocols=[_PROTOCOL],
        )


def _execute(connection: websocket.WebSocket, cell: dict[str, Any]) -> str:
    """Run one cell: collect what the kernel says until it has answered and is idle again."""
    number = _send(connection, "execute_request", {"code": cell["source"], "silent": False})
    cell["outputs"] = []
    status, idle = "", False
    while not (status and idle):
        message = _receive(connection)
        content, kind = message["content"], message["header"]["msg_type"]
        if message["parent_header"].get("msg_id") != number:
            continue
        if kind in _OUTPUTS:
            content.pop("transient", None)
            cell["outputs"].append({"output_type": kind, **content})
        elif kind == "execute_reply":
            status = content["status"]
            cell["execution_count"] = content["execution_count"]
        elif kind == "status":
            idle = content["execution_state"] == "idle"
    return status


def _send(connection: websocket.WebSocket, kind: str, content: dict[str, Any]) -> str:
    """Send a message to the kernel; return its number, which answers refer to."""
    number = uuid.uuid4().hex
    message = {
        "header": {"msg_id": number, "msg_type": kind, "version": "5.3"},
        "parent_header": {},
        "metadata": {},
        "content": content,
    }
    connection.send_binary(serialize_msg_to_ws_v1(message, "shell", _pack))
    return number


def _pack(part: object) -> bytes:
    return json.dumps(part).encode()


def _receive(connection: websocket.WebSocket) -> dict[str, Any]:
    _, parts = deserialize_msg_from_ws_v1(connection.recv())
    # What may follow are buffers, which nothing here has.
    names = ("header", "parent_header", "metadata", "content")
    return {name: json.loads(part) for name, part in zip(names, parts, strict=True)}


def _text(output: dict[str, Any]) -> str:
    """What an output says in words."""
    if output["output_type"] == "stream":
        return str(output["text"])
    if output["output_type"] == "error":
        return "\n".join(output["traceback"])
    return f"{output['data'].get('text/plain', '')}\n"


def main() -> None:
    """Do what the argument asks for."""
    asked = json.loads(sys.argv[1])
    client = Client(asked["url"], asked.get("authority"))
    if not client.log_in(asked["password"]):
        print(json.dumps({"refused": True}))
        return
    if "notebook" in asked:
        notebook = client.ask("GET", f"contents/{asked['notebook']}")
        cells = [cell for cell in notebook["content"]["cells"] if cell["cell_type"] == "code"]
    else:
        cells = [{"source": asked["code"]}] if "code" in asked else []
    status = client.run(cells, replaced=asked.get("replaced", False))
    if "copy" in asked:
        copy = {"type": "notebook", "content": notebook["content"]}
        client.ask("PUT", f"contents/{asked['copy']}", copy)
    outputs = [cell.get("outputs", []) for cell in cells]
    answer = {
        "printed": "".join(_text(output) for shown in outputs for output in shown),
        "status": status,
        "shown": [len(shown) for shown in outputs],
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
