"""Debian and Ubuntu packages that the host needs; only missing ones are installed."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from control.console import Console
from control.errors import ControlError
from control.runner import CommandError, Runner

# What the other steps call: Python environments, ssh to the machine, the machine's image, and
# what Incus itself calls.
BASE_PACKAGES = (
    "python3-venv",
    "openssh-client",
    "rsync",
    "iproute2",
    "mmdebstrap",
    "debian-archive-keyring",
    "squashfs-tools",
    "xz-utils",
    "dnsmasq-base",
    "attr",
    "acl",
    "uidmap",
    "btrfs-progs",
)
INCUS_PACKAGES = ("incus", "incus-client")
GO_PACKAGES = ("golang-go",)

# Releases whose own archive has no Incus, or a Go that cannot fetch a newer one; both are in
# their backports.
_RELEASES_WITH_BACKPORTS = {("debian", "12"): "bookworm"}

BACKPORTS_SOURCE = Path("/etc/apt/sources.list.d/mlops-backports.sources")

# Another apt may be at work, such as the nightly upgrade.
_APT_GET = ("apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=300")
_QUIET = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_MODE": "a"}


def backports_release(system: Mapping[str, str]) -> str | None:
    """Codename of the release whose backports this system needs, None where it needs none.

    Args:
        system: the fields of os-release.
    """
    return _RELEASES_WITH_BACKPORTS.get((system.get("ID", ""), system.get("VERSION_ID", "")))


class Packages:
    """Installs packages with apt."""

    def __init__(
        self, runner: Runner, console: Console, backports_source: Path = BACKPORTS_SOURCE
    ) -> None:
        self._runner = runner
        self._console = console
        self._backports_source = backports_source
        self._lists_are_fresh = False

    def ensure(self, names: Iterable[str], *, backports_of: str | None = None) -> None:
        """Install those of the packages that are missing.

        Args:
            names: the packages.
            backports_of: codename of the release whose backports to take them from, None for the
                release itself.

        Raises:
            ControlError: a package is not to be had, or its installation failed.
        """
        missing = self.missing(names)
        if not missing:
            return
        self._console.say(f"    installing {', '.join(missing)}")
        self._repair()
        self._update()
        release: list[str] = []
        if backports_of:
            self._add_backports(backports_of)
            release = ["-t", f"{backports_of}-backports"]
        try:
            self._runner.run(
                [*_APT_GET, "install", "--no-install-recommends", *release, *missing], env=_QUIET
            )
        except CommandError as error:
            raise ControlError(
                f"apt could not install {', '.join(missing)}: {error}\n"
                "Look at the host's package sources (`apt-get update`), then run it again."
            ) from error

    def missing(self, names: Iterable[str]) -> list[str]:
        """Give those of the packages that are not installed completely."""
        wanted = list(names)
        result = self._runner.run(
            ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *wanted],
            check=False,
        )
        installed = {
            line.split()[0] for line in result.stdout.splitlines() if line.endswith(" installed")
        }
        return [name for name in wanted if name not in installed]

    def _repair(self) -> None:
        """Finish what an interrupted installation left half done."""
        if self._runner.run(["dpkg", "--audit"], check=False).stdout.strip():
            self._runner.run(["dpkg", "--configure", "-a"], env=_QUIET)

    def _update(self) -> None:
        if self._lists_are_fresh:
            return
        result = self._runner.run([*_APT_GET, "update"], env=_QUIET, check=False)
        if result.returncode != 0:
            # Often a source that has nothing to do with this; the installation will show.
            self._console.say("    apt-get update reported errors, see the log; going on")
        self._lists_are_fresh = True

    def _add_backports(self, release: str) -> None:
        """Add the release's backports from the mirror that the host uses for the release."""
        result = self._runner.run(
            [
                "apt-get",
                "indextargets",
                "--format",
                "$(SITE) $(CODENAME) $(COMPONENT)",
                "Created-By: Packages",
            ]
        )
        sources = [line.split() for line in result.stdout.splitlines()]
        if any(fields[1:] == [f"{release}-backports", "main"] for fields in sources):
            return
        mirrors = [fields[0] for fields in sources if fields[1:] == [release, "main"]]
        if not mirrors:
            raise ControlError(
                f"No package source of this host has {release} main, so its backports cannot be "
                "found either. Add one to /etc/apt/sources.list.d/, then run it again."
            )
        self._console.say(f"    adding {release}-backports in {self._backports_source}")
        self._backports_source.write_text(
            "# Made by `make up`: this release has Incus in its backports alone.\n"
            "Types: deb\n"
            f"URIs: {mirrors[0]}\n"
            f"Suites: {release}-backports\n"
            "Components: main\n"
            "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
        )
        self._runner.run([*_APT_GET, "update"], env=_QUIET)
