"""Python environments made from lock files, remade only when the lock file changes."""

import hashlib
import re
import shutil
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path

from control.console import Console
from control.errors import ControlError
from control.project import Project
from control.runner import CommandError, Runner

CONTROL_ENVIRONMENT = "control"

_STAMP = "made-from"
_OLDEST_PYTHON = "3.11"
_UNLOCKED_FOLDERS = {".venvs", ".deployment", ".git", "node_modules"}


@dataclass(frozen=True)
class Environment:
    """A Python environment.

    Attributes:
        folder: where it is.
    """

    folder: Path

    @property
    def programs(self) -> Path:
        """The folder of its programs."""
        return self.folder / "bin"

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.programs / "python"

    @property
    def packages(self) -> Path:
        """The folder of its packages."""
        return Path(sysconfig.get_path("purelib", "venv", {"base": str(self.folder)}))


class Environments:
    """Makes the environments in `.venvs/` and keeps them true to their lock files."""

    def __init__(self, project: Project, runner: Runner, console: Console) -> None:
        self._project = project
        self._runner = runner
        self._console = console

    @property
    def control(self) -> Environment:
        """The environment of the control tools; `ensure_control` makes it."""
        return Environment(self._project.environments / CONTROL_ENVIRONMENT)

    def ensure_control(self) -> Environment:
        """Make the environment with Ansible, uv and the checking tools, unless it is there.

        Raises:
            ControlError: a package is not to be had or its hash is wrong.
        """
        return self._ensure(self.control, self._project.control / "requirements.txt")

    def ensure(self, name: str, lock: Path) -> Environment:
        """Make an environment from a lock file, unless it is there.

        Args:
            name: its folder in `.venvs/`.
            lock: a lock file with hashes.

        Raises:
            ControlError: a package is not to be had or its hash is wrong.
        """
        self.ensure_control()
        return self._ensure(Environment(self._project.environments / name), lock)

    def _ensure(self, environment: Environment, lock: Path) -> Environment:
        stamp_file = environment.folder / _STAMP
        stamp = self._stamp(environment, lock)
        if self._is_whole(environment, stamp_file, stamp):
            return environment
        self._console.say(f"    making {environment.folder.name} from {self._relative(lock)}")
        if environment.folder.exists():
            shutil.rmtree(environment.folder)
        environment.folder.parent.mkdir(exist_ok=True)
        try:
            if environment == self.control:
                self._runner.run([sys.executable, "-m", "venv", environment.folder])
                self._install_uv(environment, lock)
            else:
                self._runner.run(
                    [self._uv, "venv", "-q", "--python", sys.executable, environment.folder]
                )
            self._runner.run(
                [
                    *(self._uv, "pip", "sync", "-q", "--require-hashes"),
                    *("--python", environment.python, lock),
                ],
            )
        except CommandError as error:
            raise ControlError(
                f"The environment {environment.folder.name} could not be made from "
                f"{self._relative(lock)}: {error}\nIs the Python package index reachable?"
            ) from error
        # Written last: an environment without it is half made, and made again.
        stamp_file.write_text(stamp)
        return environment

    @property
    def _uv(self) -> Path:
        return self.control.programs / "uv"

    def _is_whole(self, environment: Environment, stamp_file: Path, stamp: str) -> bool:
        if not stamp_file.exists() or stamp_file.read_text() != stamp:
            return False
        # The interpreter is a link, and dangles once the host's Python is upgraded or removed.
        if not environment.python.exists():
            return False
        return self._runner.run([environment.python, "-c", ""], check=False).returncode == 0

    def _stamp(self, environment: Environment, lock: Path) -> str:
        """What makes an environment this one: its lock, its Python and its place."""
        return "\n".join(
            [
                hashlib.sha256(lock.read_bytes()).hexdigest(),
                sys.version,
                # Programs in it name their interpreter by its full path.
                str(environment.folder.resolve()),
            ]
        )

    def _install_uv(self, environment: Environment, lock: Path) -> None:
        """Install uv, as locked, with the one installer that every Python has."""
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirement:
            requirement.write(locked_requirement(lock, "uv"))
            requirement.flush()
            self._runner.run(
                [
                    *(environment.python, "-m", "pip", "install", "-q", "--no-deps"),
                    *("--disable-pip-version-check", "--require-hashes", "-r", requirement.name),
                ]
            )

    def _relative(self, path: Path) -> Path:
        return path.relative_to(self._project.root)

    def lock_all(self) -> list[Path]:
        """Resolve every `*.in` file of the repository anew into its lock file.

        Versions that a lock has stay as long as the `.in` file allows them.

        Returns:
            The lock files, in the order they were made.

        Raises:
            CommandError: the requirements of a file contradict each other.
        """
        locks = []
        for source in requirement_files(self._project.root):
            target = source.with_suffix(".txt")
            self._runner.run(
                [
                    *(self._uv, "pip", "compile", "-q", "--universal"),
                    # One version for every Python: what is tested is what runs in the images.
                    *("--fork-strategy", "fewest", "--python-version", _OLDEST_PYTHON),
                    *("--generate-hashes", "--no-emit-index-url"),
                    *("--custom-compile-command", "make lock"),
                    *("-o", target.name, source.name),
                ],
                cwd=source.parent,
            )
            self._console.say(f"    {self._relative(target)}")
            locks.append(target)
        return locks


def requirement_files(root: Path) -> list[Path]:
    """Find the `*.in` files that list direct requirements.

    A file that includes another one comes after it: `requirements-test.in` starts from
    `requirements.in`.
    """
    found = [
        path
        for path in root.rglob("*requirements*.in")
        if not _UNLOCKED_FOLDERS.intersection(path.relative_to(root).parts)
    ]
    return sorted(found, key=lambda path: (path.parent, len(path.name), path.name))


def locked_requirement(lock: Path, name: str) -> str:
    """Cut one package, with its hashes, out of a lock file.

    Raises:
        ControlError: the lock file does not have it.
    """
    match = re.search(
        rf"^{re.escape(name)}==[^\n]*(?:\n[ \t]+--hash=[^\n]*)*\n", lock.read_text(), re.MULTILINE
    )
    if not match:
        raise ControlError(f"{lock} does not have {name}; run `make lock`.")
    return match.group()
