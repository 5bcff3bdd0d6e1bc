"""Makes load on a Locust, as its web page does."""

from __future__ import annotations

import time
from typing import Any

from shared.machine import Machine

# Many times what it takes where nothing else is at work.
_LOAD_SECONDS = 60


def run_load(machine: Machine, url: str, users: int, host: str = "") -> dict[str, dict[str, Any]]:
    """Have clients ask until there are as many predictions as clients.

    Args:
        machine: the machine that asks Locust.
        url: the address of its web page.
        users: the number of clients.
        host: what is typed as the target, empty for nothing.

    Returns:
        Locust's counts by name of request.
    """
    options = [f"user_count={users}", f"spawn_rate={users}", *([f"host={host}"] if host else [])]
    fields = [part for option in options for part in ("--data", option)]
    assert machine.get_json(f"{url}/swarm", *fields)["success"]
    deadline = time.monotonic() + _LOAD_SECONDS
    while _counted(machine, url).get("/predict", {}).get("num_requests", 0) < users:
        assert time.monotonic() < deadline, _counted(machine, url)
        time.sleep(1)
    status, _ = machine.http(f"{url}/stop", "--request", "POST")
    assert status == 200
    # Workers report every three seconds.
    machine.shell("sleep 4")
    return _counted(machine, url)


def _counted(machine: Machine, url: str) -> dict[str, dict[str, Any]]:
    counted = machine.get_json(f"{url}/stats/requests")
    if counted["errors"]:
        print(f"errors that clients met with: {counted['errors']}")
    return {entry["name"]: entry for entry in counted["stats"]}
