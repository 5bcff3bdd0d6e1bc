"""JupyterLab as its user meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from shared.machine import Machine

_CLIENT = (Path(__file__).parent / "jupyterlab_client.py").read_text()


def ask(machine: Machine, password: str, port: int = 8888, **more: object) -> dict[str, Any]:
    """Log in, and run code or a notebook in a kernel; see `jupyterlab_client`."""
    url = f"http://{machine.address('jupyterlab')}:{port}"
    asked = json.dumps({"url": url, "password": password, **more})
    answer: dict[str, Any] = json.loads(
        machine.execute("jupyterlab", "python", "-c", _CLIENT, asked)
    )
    return answer
