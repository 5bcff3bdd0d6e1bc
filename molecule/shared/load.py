"""Makes load on a Locust, as its web page does."""

from __future__ import annotations

from typing import Any

from shared.machine import Machine


def run_load(machine: Machine, url: str, users: int, host: str = "") -> dict[str, dict[str, Any]]:
    """Have so many clients ask for some seconds.

    Args:
        machine: the machine that asks Locust.
        url: the address of its web page.
        users: the number of clients; each asks at least twice.
        host: what is typed as the target, empty for nothing.

    Returns:
        Locust's counts by name of request.
    """
    options = [f"user_count={users}", f"spawn_rate={users}", *([f"host={host}"] if host else [])]
    fields = [part for option in options for part in ("--data", option)]
    assert machine.get_json(f"{url}/swarm", *fields)["success"]
    machine.shell("sleep 4")
    status, _ = machine.http(f"{url}/stop", "--request", "POST")
    assert status == 200
    # Workers report every three seconds.
    machine.shell("sleep 4")
    counted = machine.get_json(f"{url}/stats/requests")
    print(f"errors that clients met with: {counted['errors']}")
    return {entry["name"]: entry for entry in counted["stats"]}
