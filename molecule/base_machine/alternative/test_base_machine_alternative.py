"""The machine with every variable changed."""

from __future__ import annotations

from shared.machine import Machine


def test_has_the_new_settings(machine: Machine) -> None:
    assert machine.host.package("less").is_installed
    assert "SystemMaxUse=50M" in machine.run(
        "systemd-analyze", "cat-config", "systemd/journald.conf"
    )
    assert machine.mode("/etc/elsewhere") == ("0711", "0", "0")
    assert machine.mode("/srv/elsewhere") == ("0711", "0", "0")
