"""A run that changes nothing restarts nothing, and a dry run foresees that."""

from __future__ import annotations

import os
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from shared.machine import Machine

SHARED = Path(__file__).resolve().parents[1]


def test_nothing_was_restarted(machine: Machine) -> None:
    ended = machine.host.file("/var/lib/molecule-converged").mtime.replace(tzinfo=UTC)
    for name, container in machine.containers.items():
        # Nanoseconds are more than Python reads.
        started = datetime.fromisoformat(container["State"]["StartedAt"][:19] + "+00:00")
        assert started <= ended, name


def test_check_mode_foresees_no_change(machine: Machine) -> None:
    own = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"], "converge.yml")
    playbook = own if own.exists() else SHARED / "converge.yml"
    inventory = Path(os.environ["MOLECULE_INVENTORY_FILE"]).parent
    checked = subprocess.run(
        ["ansible-playbook", "--check", "--diff", "--inventory", inventory, playbook],
        # Molecule asks for colours; they would stand among the numbers.
        env={**os.environ, "ANSIBLE_FORCE_COLOR": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout[-4000:] + checked.stderr
    recap = re.search(r"ok=([0-9]+) +changed=([0-9]+)", checked.stdout)
    assert recap, checked.stdout
    assert int(recap[1]) > 0
    assert recap[2] == "0", checked.stdout[-4000:]
