"""The portal with nearly every variable changed."""

from __future__ import annotations

from shared.machine import Machine

URL = "http://172.30.98.30:8100"


def test_tells_the_new_things(machine: Machine) -> None:
    machine.wait_for(f"curl --silent {URL}/ | grep -q 'Everything is well'")
    _, page = machine.http(f"{URL}/")
    for text in ("<h1>Another platform</h1>", "The handbook", "None yet"):
        assert text in page
    assert "It was here." not in page


def test_has_the_new_settings(machine: Machine) -> None:
    limits = machine.limits("portal")
    assert limits.cpu_quota / limits.cpu_period == 0.75
    assert limits.memory == 300 * 1024**2
    assert machine.process("portal").user_id == 10522
    assert machine.mode("/etc/mlops/entrance/description.json") == ("0644", "0", "0")
