import re
from pathlib import Path

import pytest

from control.console import Steps, duration, open_log, table
from control.errors import ControlError
from control.project import Project
from control.tests.conftest import Screen


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.9, "59.9 s"), (59.96, "1 min 00 s"), (187, "3 min 07 s")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_table_aligns_columns() -> None:
    assert table(["A", "Long"], [["wide one", "x"]]) == ["A         Long", "wide one  x"]


def test_steps_are_numbered_and_timed(screen: Screen) -> None:
    steps = Steps(screen, total=2)
    with steps.step("First"):
        screen.say("    inside")
    with pytest.raises(ControlError), steps.step("Second"):
        raise ControlError("no")
    lines = screen.text.splitlines()
    assert lines[0] == "[1/2] First"
    assert re.fullmatch(r"\[1/2\] done in 0\.\d s \(0\.\d s in all\)", lines[2])
    assert lines[3] == "[2/2] Second"
    assert re.fullmatch(r"\[2/2\] stopped after 0\.\d s", lines[4])


def test_everything_said_is_in_the_log(tmp_path: Path) -> None:
    screen = Screen(tmp_path / "log")
    screen.say("\x1b[32mgreen\x1b[0m")
    screen.record("not shown")
    screen.close()
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d green\n\d\d:\d\d:\d\d not shown\n", (tmp_path / "log").read_text()
    )
    assert "not shown" not in screen.text


def test_logs_are_private_and_old_ones_go(project: Project) -> None:
    for number in range(25):
        project.logs.mkdir(parents=True, exist_ok=True)
        (project.logs / f"up-202601{number:02d}T000000.log").touch()
    (project.logs / "scale-20250101T000000.log").touch()
    path = open_log(project.logs, "up")
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(list(project.logs.glob("up-*.log"))) == 20
    assert not (project.logs / "up-20260100T000000.log").exists()
    assert (project.logs / "scale-20250101T000000.log").exists()
