import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from control import __main__ as command_line
from control.errors import ControlError
from control.project import Project
from control.tests.test_runner import has_ended
from control.verbs import Verbs

REPOSITORY = Path(__file__).parents[2]

# `up` on another folder, with one step that takes long.
INTERRUPTED_UP = """
import sys
from pathlib import Path
from control import __main__ as command_line
from control.console import Steps
from control.verbs import Verbs

def up(self):
    with Steps(self.console, 1).step("Wait"):
        self.runner.run(["sh", "-c", "echo $$ > pid; exec sleep 60"], cwd=command_line.ROOT)

command_line.ROOT = Path(sys.argv[1])
Verbs.up = up
sys.exit(command_line.main(["up"]))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_up(project: Project, number: signal.Signals, code: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED_UP, project.root],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    pid_file = project.root / "pid"
    deadline = time.monotonic() + 20
    while not (pid_file.exists() and pid_file.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == code
    assert "[1/1] stopped after" in output
    assert "Interrupted. Run `make up` again: it goes on from here." in output
    assert has_ended(int(pid_file.read_text()))
    (log,) = project.logs.glob("up-*.log")
    assert "Interrupted" in log.read_text()


def test_interrupt_that_python_drops_is_heeded(project: Project) -> None:
    """An exception in a callback around a fork is printed and forgotten."""
    fork = "os.register_at_fork(before=lambda: signal.raise_signal(signal.SIGINT))"
    script = INTERRUPTED_UP.replace("    with Steps", f"    {fork}\n    with Steps")
    completed = subprocess.run(
        [sys.executable, "-c", f"import os, signal\n{script}", project.root],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert completed.returncode == 130
    assert "Exception ignored" in completed.stderr
    assert "Interrupted. Run `make up` again" in completed.stdout


@pytest.fixture
def other_root(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setattr(command_line, "ROOT", project.root)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    return project


def test_failure_is_printed_with_its_log(
    other_root: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def down(_: Verbs) -> None:
        raise ControlError("the machine hangs")

    monkeypatch.setattr(Verbs, "down", down)
    assert command_line.main(["down"]) == 1
    (log,) = other_root.logs.glob("down-*.log")
    assert f"the machine hangs\nThe log of this run: {log}" in capsys.readouterr().err
    assert "the machine hangs" in log.read_text()


def test_exit_code_tells_whether_all_is_well(
    other_root: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Verbs, "status", lambda _: False)
    assert command_line.main(["status"]) == 1
    monkeypatch.setattr(Verbs, "status", lambda _: True)
    assert command_line.main(["status"]) == 0
    monkeypatch.setattr(Verbs, "passwords", lambda this: this.console.say("a password"))
    assert command_line.main(["passwords"]) == 0
    assert not other_root.logs.exists(), "a look leaves nothing behind"


def test_files_of_another_user(
    other_root: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def predict(_: Verbs) -> None:
        raise PermissionError(13, "Permission denied", "/key")

    monkeypatch.setattr(Verbs, "predict", predict)
    assert command_line.main(["predict"]) == 1
    assert "/key is another user's: run it with sudo" in capsys.readouterr().err


def test_makefile_and_help_have_the_same_verbs() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    verbs = {name for name, _, _ in command_line.VERBS} | {"help"}
    (phony,) = [line for line in makefile.splitlines() if line.startswith(".PHONY:")]
    assert set(phony.split()[1:]) == verbs
    completed = subprocess.run(
        ["make", "help"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    for verb in verbs:
        assert f"\n  {verb} " in completed.stdout


@pytest.mark.parametrize("arguments", [["fly"], ["scale"], ["test", "--layer", "slow"]])
def test_wrong_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        command_line.main(arguments)
    assert stopped.value.code == 2


def test_older_python_is_told_so() -> None:
    """The first file that is read must run on whatever Python the host has."""
    code = (
        "import sys, runpy; sys.version_info = (3, 9, 2); "
        f"runpy.run_path({str(REPOSITORY / 'control' / '__init__.py')!r})"
    )
    completed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert completed.returncode == 1
    assert completed.stderr.startswith("This needs Python 3.11 or newer")
