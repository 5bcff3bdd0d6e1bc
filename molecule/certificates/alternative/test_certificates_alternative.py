"""Certificates that were renewed, changed, and the operator's own."""

from __future__ import annotations

from shared.machine import Machine
from shared.tls import authority, certificate, server, valid_days


def test_one_that_ends_soon_was_renewed(machine: Machine) -> None:
    def line(path: str, what: str) -> str:
        return machine.run("openssl", "x509", "-in", path, "-noout", what)

    now, before = "/etc/mlops/certificates/server.crt", "/root/before.crt"
    assert line(now, "-serial") != line(before, "-serial")
    # The key, and so what others may have noted of it, is the same.
    assert line(now, "-pubkey") == line(before, "-pubkey")
    assert line(now, "-issuer") == line(before, "-issuer")


def test_other_names_reader_and_end(machine: Machine) -> None:
    folder = machine.variables["certificates_directory"]
    reader = machine.variables["certificates_reader_id"]
    assert machine.mode(f"{folder}/server.key") == ("0400", str(reader), "0")
    with server(machine, folder, reader):
        shown = certificate(machine, authority(machine), "other.example")
        assert ("DNS", "service.example") not in shown["subjectAltName"]
    assert valid_days(shown) == 20


def test_the_operators_own(machine: Machine) -> None:
    with server(machine, "/etc/mlops/own", user_id=0):
        shown = certificate(machine, authority(machine).with_name("own.crt"), "own.example")
        assert ("DNS", "own.example") in shown["subjectAltName"]
    assert machine.mode("/etc/mlops/own/server.key") == ("0400", "0", "0")
    assert not machine.host.file("/etc/mlops/own/ca.crt").exists
