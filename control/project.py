"""Where things are: the folders of the repository and what a deployment makes in them."""

import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path

from control.errors import ControlError


@dataclass(frozen=True)
class Network:
    """The bridge that machines hang on, as Terraform knows it too.

    Attributes:
        bridge: name of the Incus network.
        subnet: the range it serves.
    """

    bridge: str
    subnet: ipaddress.IPv4Network

    @property
    def gateway(self) -> ipaddress.IPv4Interface:
        """The host's own address on the bridge: the first of the range."""
        first_address = self.subnet.network_address + 1
        return ipaddress.IPv4Interface(f"{first_address}/{self.subnet.prefixlen}")


@dataclass(frozen=True)
class Project:
    """The repository's folders and the files that a deployment keeps.

    Attributes:
        root: the repository's top folder.
    """

    root: Path

    @property
    def control(self) -> Path:
        """This package and its lock file."""
        return self.root / "control"

    @property
    def terraform(self) -> Path:
        """The Terraform configuration."""
        return self.root / "terraform"

    @property
    def ansible(self) -> Path:
        """The playbooks and the inventory."""
        return self.root / "ansible"

    @property
    def environments(self) -> Path:
        """The Python environments, each made from a lock file."""
        return self.root / ".venvs"

    @property
    def deployment(self) -> Path:
        """What a deployment makes: keys, secrets, settings, logs; never under version control."""
        return self.root / ".deployment"

    @property
    def secrets(self) -> Path:
        """One file for each generated password."""
        return self.deployment / "secrets"

    def secret(self, name: str) -> str:
        """Read a generated password.

        Raises:
            ControlError: its file is not there.
        """
        path = self.secrets / name
        try:
            return path.read_text().strip()
        except FileNotFoundError:
            raise ControlError(f"{path} is missing. Run `make up`, which sets passwords.") from None

    @property
    def certificates(self) -> Path:
        """The deployment's own authority, and what the operator puts beside it."""
        return self.deployment / "certificates"

    @property
    def authority(self) -> Path:
        """The certificate of the deployment's own authority, which all clients trust."""
        return self.certificates / "ca.crt"

    @property
    def trusted(self) -> tuple[Path, ...]:
        """Files with the certificates that clients trust: the authority's, the operator's own."""
        own = self.certificates / "own.crt"
        return (self.authority, own) if own.exists() else (self.authority,)

    @property
    def settings(self) -> Path:
        """The operator's choices that outlive a run, as JSON; Ansible reads them."""
        return self.deployment / "settings.json"

    @property
    def logs(self) -> Path:
        """A log for each run."""
        return self.deployment / "logs"

    @property
    def load_tests(self) -> Path:
        """A folder for each load test, with what was counted."""
        return self.deployment / "load_tests"

    @property
    def load_tests_source(self) -> Path:
        """The package of the clients, and the report of the study."""
        return self.root / "loadtest"

    @property
    def study(self) -> Path:
        """The raw results of the scaling study, under version control."""
        return self.load_tests_source / "results"

    @property
    def short_study(self) -> Path:
        """What trying the study's machinery leaves."""
        return self.deployment / "short_study"

    @property
    def results_page(self) -> Path:
        """Where the page that is made of the study's results goes, with its pictures."""
        return self.root / "docs" / "results"

    @property
    def tools(self) -> Path:
        """Programs that were built here because the host has none."""
        return self.deployment / "tools"

    @property
    def lock(self) -> Path:
        """Held by the one run that may change the deployment."""
        return self.deployment / "lock"

    def network(self) -> Network:
        """Read the bridge's name and range from `terraform/network.json`.

        Raises:
            ControlError: the file is missing or wrong.
        """
        path = self.terraform / "network.json"
        try:
            content = json.loads(path.read_text())
            return Network(content["bridge"], ipaddress.IPv4Network(content["subnet"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ControlError(
                f"{path} must hold the bridge's name and range, such as "
                f'{{"bridge": "incusbr0", "subnet": "10.43.101.0/24"}}: {error}'
            ) from error


def make_private_folder(path: Path) -> Path:
    """Make a folder that only its owner can read, and return it."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path
