"""How the deployment's authority comes to be trusted."""

import subprocess
from pathlib import Path

import pytest

from control.errors import ControlError
from control.trust import trust_lines


def test_tells_file_and_fingerprint(tmp_path: Path) -> None:
    authority = tmp_path / "ca.crt"
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=me"
    subprocess.run(
        [*make.split(), "-keyout", tmp_path / "ca.key", "-out", authority],
        check=True,
        capture_output=True,
    )
    shown = subprocess.run(
        ["openssl", "x509", "-in", authority, "-noout", "-fingerprint", "-sha256"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    lines = trust_lines(authority)
    assert lines[0].endswith(str(authority))
    assert lines[1] == f"SHA-256 {shown.strip().partition('=')[2]}"
    assert any("update-ca-certificates" in line for line in lines)


def test_says_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="make up"):
        trust_lines(tmp_path / "ca.crt")
