"""A client of JupyterLab that does over HTTP and a WebSocket what a person does in the browser.

It runs in JupyterLab's own container, which has the libraries. Its argument is a JSON object:
`url`, `password`, and `code` unless the login alone is asked for. It prints another one: `refused`,
or `printed`, what the code wrote to its standard output, and `status`, how it ended.
"""

from __future__ import annotations

import json
import sys
import uuid
from typing import Any

import requests  # type: ignore[import-untyped]
import websocket  # type: ignore[import-not-found]

_SECONDS = 60


def log_in(url: str, password: str) -> requests.Session | None:
    """Fill in the login page; None where JupyterLab refuses."""
    session = requests.Session()
    session.trust_env = False
    session.get(f"{url}/login", timeout=_SECONDS).raise_for_status()
    form = {"password": password, "_xsrf": session.cookies["_xsrf"]}
    session.post(f"{url}/login", form, timeout=_SECONDS)
    session.headers["X-XSRFToken"] = session.cookies["_xsrf"]
    return session if session.get(f"{url}/api/contents", timeout=_SECONDS).ok else None


def run(session: requests.Session, url: str, code: str) -> dict[str, Any]:
    """Run code in a kernel of its own."""
    answer = session.post(f"{url}/api/kernels", json={"name": "python3"}, timeout=_SECONDS)
    answer.raise_for_status()
    kernel = f"{url}/api/kernels/{answer.json()['id']}"
    try:
        connection = websocket.create_connection(
            f"{kernel.replace('http', 'ws', 1)}/channels",
            timeout=_SECONDS,
            cookie="; ".join(f"{name}={value}" for name, value in session.cookies.items()),
        )
        message = {
            "channel": "shell",
            "header": {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "version": "5.3"},
            "parent_header": {},
            "metadata": {},
            "content": {"code": code, "silent": False},
        }
        connection.send(json.dumps(message))
        return _follow(connection)
    finally:
        session.delete(kernel, timeout=_SECONDS).raise_for_status()


def _follow(connection: websocket.WebSocket) -> dict[str, Any]:
    """Collect what the kernel says until it has answered and is idle again."""
    printed, status, idle = "", "", False
    while not (status and idle):
        message = json.loads(connection.recv())
        content = message["content"]
        if message["parent_header"].get("msg_type") != "execute_request":
            continue
        if message["msg_type"] == "stream":
            printed += content["text"]
        elif message["msg_type"] == "error":
            printed += "\n".join(content["traceback"])
        elif message["msg_type"] == "execute_reply":
            status = content["status"]
        elif message["msg_type"] == "status":
            idle = content["execution_state"] == "idle"
    return {"printed": printed, "status": status}


def main() -> None:
    """Do what the argument asks for."""
    asked = json.loads(sys.argv[1])
    session = log_in(asked["url"], asked["password"])
    if session is None:
        print(json.dumps({"refused": True}))
        return
    print(json.dumps(run(session, asked["url"], asked["code"]) if "code" in asked else {}))


if __name__ == "__main__":
    main()
