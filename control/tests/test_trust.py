"""How the deployment's authority comes to be trusted."""

import subprocess
from pathlib import Path

import pytest

from control.errors import ControlError
from control.trust import trust_lines


def test_tells_file_and_fingerprint(certificate: Path) -> None:
    shown = subprocess.run(
        ["openssl", "x509", "-in", certificate, "-noout", "-fingerprint", "-sha256"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    lines = trust_lines(certificate)
    assert lines[0].endswith(str(certificate))
    assert lines[1] == f"SHA-256 {shown.strip().partition('=')[2]}"
    assert any("update-ca-certificates" in line for line in lines)


def test_says_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="make up"):
        trust_lines(tmp_path / "ca.crt")
