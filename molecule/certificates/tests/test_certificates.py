"""A certificate as clients and the server find it."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from shared.machine import Machine
from shared.tls import authority, certificate, server, valid_days

FOLDER = "/etc/mlops/certificates"


def test_clients_that_trust_the_authority_take_it(machine: Machine) -> None:
    address = machine.variables["ansible_host"]
    with server(machine, FOLDER, user_id=0):
        for name in (address, "service.example"):
            shown = certificate(machine, authority(machine), name)
        assert set(shown["subjectAltName"]) == {
            ("IP Address", address),
            ("DNS", "service.example"),
        }
        assert valid_days(shown) == 397
        with pytest.raises(ssl.SSLCertVerificationError, match=r"doesn't match|not valid for"):
            certificate(machine, authority(machine), "other.example")
        with pytest.raises(ssl.SSLCertVerificationError, match=r"issuer|self-signed"):
            certificate(machine, Path("/etc/ssl/certs/ca-certificates.crt"), address)


def test_only_its_reader_has_the_key(machine: Machine) -> None:
    assert machine.mode(f"{FOLDER}/server.key") == ("0400", "0", "0")
    assert machine.mode(f"{FOLDER}/server.crt") == ("0444", "0", "0")
    assert machine.mode(FOLDER) == ("0755", "0", "0")


def test_the_authoritys_key_is_on_the_control_host_alone(machine: Machine) -> None:
    assert authority(machine).with_name("ca.key").stat().st_mode & 0o777 == 0o600
    assert authority(machine).parent.stat().st_mode & 0o777 == 0o700
    keys = machine.shell("grep -rl 'PRIVATE KEY' /etc/mlops /srv/mlops /root /home")
    assert keys.split() == [f"{FOLDER}/server.key"]


def test_the_authority_makes_no_further_ones(machine: Machine) -> None:
    printed = machine.run("openssl", "x509", "-in", f"{FOLDER}/ca.crt", "-noout", "-text")
    assert "CA:TRUE, pathlen:0" in printed
    assert "Certificate Sign, CRL Sign" in printed
    shown = machine.run("openssl", "x509", "-in", f"{FOLDER}/server.crt", "-noout", "-text")
    assert "CA:FALSE" in shown
    assert "TLS Web Server Authentication" in shown
