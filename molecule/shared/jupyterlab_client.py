"""A client of JupyterLab that does over HTTP and a WebSocket what a person does in the browser.

It runs in JupyterLab's own container, which has the libraries. Its argument is a JSON object:
`url`, `password`, for an https address `authority`, a file, and unless the login alone is asked for
either `code` or `notebook`, a path; with `copy`, the notebook is saved under that path as it looks
after its run. It prints another one: `refused`, or `printed`, what the code wrote, `status`, how it
ended, and `shown`, how many outputs each cell has.
"""

from __future__ import annotations

import json
import sys
import uuid
from typing import Any

import requests  # type: ignore[import-untyped]
import websocket  # type: ignore[import-not-found]

_SECONDS = 60
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

    def run(self, cells: list[dict[str, Any]]) -> str:
        """Run code cells in a kernel of their own up to the first that fails; tell how that ended.

        Each cell gets its outputs.
        """
        kernel = self.ask("POST", "kernels", {"name": "python3"})["id"]
        try:
            connection = websocket.create_connection(
                f"{self.url.replace('http', 'ws', 1)}/api/kernels/{kernel}/channels",
                timeout=_SECONDS,
                sslopt={"ca_certs": self.authority} if self.authority else {},
                cookie="; ".join(f"{name}={value}" for name, value in self.session.cookies.items()),
            )
            for cell in cells:
                status = _execute(connection, cell)
                if status != "ok":
                    return status
            return "ok"
        finally:
            self.ask("DELETE", f"kernels/{kernel}")


def _execute(connection: websocket.WebSocket, cell: dict[str, Any]) -> str:
    """Run one cell: collect what the kernel says until it has answered and is idle again."""
    number = uuid.uuid4().hex
    message = {
        "channel": "shell",
        "header": {"msg_id": number, "msg_type": "execute_request", "version": "5.3"},
        "parent_header": {},
        "metadata": {},
        "content": {"code": cell["source"], "silent": False},
    }
    connection.send(json.dumps(message))
    cell["outputs"] = []
    status, idle = "", False
    while not (status and idle):
        message = json.loads(connection.recv())
        content: Any = message["content"]
        if message["parent_header"].get("msg_id") != number:
            continue
        if message["msg_type"] in _OUTPUTS:
            content.pop("transient", None)
            cell["outputs"].append({"output_type": message["msg_type"], **content})
        elif message["msg_type"] == "execute_reply":
            status = content["status"]
            cell["execution_count"] = content["execution_count"]
        elif message["msg_type"] == "status":
            idle = content["execution_state"] == "idle"
    return status


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
    status = client.run(cells)
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
