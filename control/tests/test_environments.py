import re
import shutil
from pathlib import Path

import pytest

from control.environments import Environments, locked_requirement, requirement_files
from control.errors import ControlError
from control.project import Project
from control.runner import HostRunner
from control.tests.conftest import FakeRunner, Screen

REAL_LOCK = Path(__file__).parents[1] / "requirements.txt"


@pytest.fixture
def small_lock(project: Project) -> Path:
    """A lock with two small packages: uv, which makes environments, and iniconfig."""
    lock = project.control / "requirements.txt"
    lock.write_text(
        locked_requirement(REAL_LOCK, "uv") + locked_requirement(REAL_LOCK, "iniconfig")
    )
    return lock


def test_environments_are_made_kept_and_mended(project: Project, small_lock: Path) -> None:
    screen = Screen()
    environments = Environments(project, HostRunner(screen), screen)

    def makes(name: str, lock: Path) -> bool:
        """Ask for an environment and tell whether it was made anew."""
        before = screen.text
        environments.ensure(name, lock)
        return f"making {name} " in screen.text.removeprefix(before)

    assert makes("control", small_lock)
    assert environments.control.programs.joinpath("uv").exists()
    assert not makes("control", small_lock), "an unchanged lock makes nothing"

    other = project.root / "other.txt"
    other.write_text(locked_requirement(REAL_LOCK, "iniconfig"))
    assert makes("other", other)
    assert not makes("other", other)
    folder = project.environments / "other"

    other.write_text(f"{other.read_text()}\n# changed\n")
    assert makes("other", other)

    (folder / "made-from").unlink()
    assert makes("other", other), "one that was interrupted is made again"

    (folder / "bin" / "python").unlink()
    (folder / "bin" / "python").symlink_to("/no/such/python")
    assert makes("other", other), "one whose Python is gone is made again"

    shutil.rmtree(folder / "bin")
    assert makes("other", other)

    completed = HostRunner(screen).run(
        [folder / "bin" / "python", "-c", "import iniconfig; print(iniconfig.__file__)"]
    )
    assert str(folder) in completed.stdout


def test_wrong_hash_is_refused_and_leaves_no_stamp(project: Project, small_lock: Path) -> None:
    screen = Screen()
    environments = Environments(project, HostRunner(screen), screen)
    environments.ensure_control()
    lock = project.root / "wrong.txt"
    lock.write_text(re.sub(r"sha256:\w+", f"sha256:{'0' * 64}", small_lock.read_text()))
    with pytest.raises(ControlError, match=r"wrong could not be made from wrong\.txt"):
        environments.ensure("wrong", lock)
    assert not (project.environments / "wrong" / "made-from").exists()


def test_locked_requirement_has_all_hashes(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text(
        "uvloop==1 \\\n    --hash=sha256:00\nuv==2 ; python_version > '3' \\\n"
        "    --hash=sha256:aa \\\n    --hash=sha256:bb\n    # via x\n"
        "zipp==3 \\\n    --hash=sha256:cc\n"
    )
    assert locked_requirement(lock, "uv") == (
        "uv==2 ; python_version > '3' \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
    )
    with pytest.raises(ControlError, match="does not have pip"):
        locked_requirement(lock, "pip")


def test_requirement_files_are_found_in_order(tmp_path: Path) -> None:
    for name in (
        "b/requirements-test.in",
        "b/requirements.in",
        "a/files/image/requirements.in",
        ".venvs/x/requirements.in",
        "a/requirements.txt",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = [str(path.relative_to(tmp_path)) for path in requirement_files(tmp_path)]
    assert found == [
        "a/files/image/requirements.in",
        "b/requirements.in",
        "b/requirements-test.in",
    ]


def test_lock_resolves_beside_each_file(project: Project, runner: FakeRunner) -> None:
    (project.control / "requirements.in").touch()
    screen = Screen()
    Environments(project, runner, screen).lock_all()
    (command,) = runner.commands
    assert "--generate-hashes" in command
    assert "--python-version 3.11" in command
    assert command.endswith("-o requirements.txt requirements.in")
    assert runner.folders == [project.control]
    assert screen.text.split() == ["control/requirements.txt"]
