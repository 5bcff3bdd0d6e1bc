"""Tells how to trust the authority that signs the certificates of a deployment's pages."""

import hashlib
import ssl
from pathlib import Path

from control.console import table
from control.errors import ControlError

_NAME = "mlops-platform.crt"


def trust_lines(authority: Path) -> list[str]:
    """Lines that tell where the authority's certificate is, and how others come to trust it.

    Args:
        authority: the certificate's file.

    Raises:
        ControlError: there is none yet.
    """
    try:
        content = ssl.PEM_cert_to_DER_cert(authority.read_text())
    except FileNotFoundError:
        raise ControlError(f"{authority} is missing: `make up` makes it.") from None
    digest = hashlib.sha256(content).hexdigest().upper()
    fingerprint = ":".join(digest[start : start + 2] for start in range(0, len(digest), 2))
    rows = [
        [
            "Debian, Ubuntu",
            f"sudo cp {authority} /usr/local/share/ca-certificates/{_NAME} "
            "&& sudo update-ca-certificates",
        ],
        [
            "macOS",
            "sudo security add-trusted-cert -d -r trustRoot "
            f"-k /Library/Keychains/System.keychain {authority.name}",
        ],
        ["Windows", f"certutil -addstore -user Root {authority.name}"],
        ["Firefox", "Settings, Privacy & Security, View Certificates, Authorities, Import"],
        ["curl", f"curl --cacert {authority} https://..."],
    ]
    return [
        f"The authority of this deployment: {authority}",
        f"SHA-256 {fingerprint}",
        "",
        "Copy the file to where the browser is, compare the fingerprint there, and trust it:",
        "",
        *table(["Where", "How"], rows),
        "",
        f"Certificate and key of your own: put them into {authority.parent} as own.crt and",
        "own.key, and run `make up`.",
    ]
