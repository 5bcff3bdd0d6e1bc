"""Which secrets are refused, and what is told of them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

GOOD = "Kq7vTz2mXw9dRb4sHn6y"


def check(values: dict[str, str], **variables: object) -> tuple[int, str]:
    """Apply the role to some values; return the exit code and what it printed."""
    completed = subprocess.run(
        [
            *(
                "ansible-playbook",
                "--inventory",
                Path(os.environ["MOLECULE_INVENTORY_FILE"]).parent,
            ),
            *("--extra-vars", json.dumps({"secrets_values": values, **variables})),
            Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"], "converge.yml"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    return completed.returncode, " ".join((completed.stdout + completed.stderr).split())


def test_accepts_what_nobody_guesses() -> None:
    status, printed = check({"database": GOOD})
    assert status == 0, printed


@pytest.mark.parametrize(
    "value", ["", "Kq7vTz2mXw9dRb4", "Kq7vTz2m-Password-Rb4sHn6y", "xxxCHANGEMExxxxxxxx"]
)
def test_refuses_what_is_short_or_well_known(value: str) -> None:
    status, printed = check({"database": value, "broker": GOOD})
    assert status != 0
    assert "a well-known word: database." in printed
    # A name helps; a value would end up in a log.
    assert GOOD not in printed
    assert value == "" or value not in printed


def test_the_rules_are_variables() -> None:
    assert check({"database": "Kq7vTz2m"}, secrets_minimum_length=8)[0] == 0
    assert check({"database": GOOD}, secrets_minimum_length=30)[0] != 0
    assert check({"database": GOOD}, secrets_well_known=["xw9d"])[0] != 0
