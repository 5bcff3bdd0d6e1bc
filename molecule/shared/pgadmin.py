"""pgAdmin as its user meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from shared.machine import Machine

_CLIENT = (Path(__file__).parent / "pgadmin_client.py").read_text()
EMAIL = "admin@mlops.example"


def ask(machine: Machine, password: str, port: int = 5050, **more: str) -> dict[str, Any]:
    """Log in and do something; see `pgadmin_client`."""
    url = f"http://{machine.address('pgadmin')}:{port}"
    asked = json.dumps({"url": url, "email": EMAIL, "password": password, **more})
    answer: dict[str, Any] = json.loads(machine.run("python3", "-c", _CLIENT, asked))
    return answer
