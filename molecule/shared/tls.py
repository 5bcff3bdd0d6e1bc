"""A client that checks certificates, and a server on the test machine that shows one."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shared.machine import Machine

_PORT = 8443
# Answers with the certificate, as the user that is to read its key.
_SERVER = """
import socket, ssl
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("{folder}/server.crt", "{folder}/server.key")
listener = socket.create_server(("", {port}))
while True:
    connection, _ = listener.accept()
    try:
        context.wrap_socket(connection, server_side=True).close()
    except OSError:
        pass
"""


@contextlib.contextmanager
def server(machine: Machine, folder: str, user_id: int) -> Iterator[None]:
    """Have a server on the machine for as long as the block lasts."""
    unit = "certificate-test"
    code = _SERVER.format(folder=folder, port=_PORT)
    machine.run(
        *("systemd-run", "--quiet", f"--unit={unit}", f"--uid={user_id}"),
        *("python3", "-c", code),
    )
    try:
        machine.wait_for(f"ss -Hltn 'sport = :{_PORT}' | grep -q .", 10)
        yield
    finally:
        machine.run("systemctl", "stop", unit)


def authority(machine: Machine) -> Path:
    """The certificate of the scenario's authority; its key is beside it."""
    return Path(machine.variables["certificates_authority_directory"], "ca.crt")


def valid_days(shown: dict[str, Any]) -> int:
    """How long a certificate is good for, from its beginning."""
    begins, ends = (ssl.cert_time_to_seconds(shown[key]) for key in ("notBefore", "notAfter"))
    return round((ends - begins) / 86400)


def certificate(machine: Machine, trusted: Path, name: str) -> dict[str, Any]:
    """The certificate that the machine's server shows, checked as any client would.

    Args:
        machine: the machine.
        trusted: a file with the certificates that the client trusts.
        name: the name or address that the client asked for.

    Raises:
        ssl.SSLCertVerificationError: it is not from one of these, or not for this name.
    """
    context = ssl.create_default_context(cafile=str(trusted))
    address = (machine.variables["ansible_host"], _PORT)
    with (
        socket.create_connection(address, timeout=10) as connection,
        context.wrap_socket(connection, server_hostname=name) as encrypted,
    ):
        shown: dict[str, Any] = encrypted.getpeercert() or {}
        return shown
