import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from control.errors import ControlError, Interrupted
from control.runner import CommandError, HostRunner, child_environment
from control.tests.conftest import Screen


def python(code: str) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(code)]


def test_output_is_kept_apart_and_not_shown(screen: Screen) -> None:
    completed = HostRunner(screen).run(
        python("import sys; print('on'); print('off', file=sys.stderr)")
    )
    assert (completed.returncode, completed.stdout, completed.stderr) == (0, "on\n", "off\n")
    assert screen.text == ""


def test_echo_shows_both_streams_in_order_and_as_they_come(screen: Screen) -> None:
    code = "import sys; print('one'); print('two', file=sys.stderr); print('three', end='')"
    HostRunner(screen).run(python(code), echo=True)
    assert screen.text.split() == ["one", "two", "three"]


def test_log_has_command_output_and_exit_code(tmp_path: Path) -> None:
    screen = Screen(tmp_path / "log")
    HostRunner(screen).run(python("print('\\x1b[31mred\\x1b[0m')"))
    log = (tmp_path / "log").read_text()
    assert " $ " in log
    assert "    red\n" in log
    assert log.endswith("= 0\n")


def test_failure_quotes_the_end_of_the_errors(screen: Screen) -> None:
    code = "import sys; [print(f'line {i}', file=sys.stderr) for i in range(100)]; sys.exit(3)"
    with pytest.raises(CommandError) as failed:
        HostRunner(screen).run(python(code))
    assert "ended with code 3" in str(failed.value)
    assert "line 99" in str(failed.value)
    assert "line 50\n" not in str(failed.value)


def test_failure_of_a_shown_program_does_not_repeat_its_output(screen: Screen) -> None:
    with pytest.raises(CommandError) as failed:
        HostRunner(screen).run(["sh", "-c", "echo why; exit 1"], echo=True)
    assert "why" in screen.text
    assert "printing" not in str(failed.value)


def test_missing_program_is_named(screen: Screen) -> None:
    with pytest.raises(ControlError, match="no-such-program is not installed"):
        HostRunner(screen).run(["no-such-program"])


def test_timeout_ends_the_program_and_its_children(screen: Screen, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with pytest.raises(ControlError, match="longer than 1 s"):
        HostRunner(screen).run(["sh", "-c", f"sleep 60 & echo $! > {pid_file}; wait"], timeout=1)
    assert has_ended(int(pid_file.read_text()))


def test_input_is_passed_on(screen: Screen) -> None:
    assert HostRunner(screen).run(["cat"], input_text="über").stdout == "über"


def test_a_background_process_that_holds_the_output_does_not_hold_the_run(screen: Screen) -> None:
    began = time.monotonic()
    completed = HostRunner(screen).run(["sh", "-c", "sleep 5 & echo done"])
    assert completed.stdout == "done\n"
    assert time.monotonic() - began < 4


def test_large_output_is_whole(screen: Screen) -> None:
    completed = HostRunner(screen).run(python("print('é' * 300_000)"))
    assert completed.stdout == "é" * 300_000 + "\n"


def test_interrupt_reaches_the_program_once_and_waits_for_it(
    screen: Screen, tmp_path: Path
) -> None:
    signals = tmp_path / "signals"
    program = python(
        f"""
        import signal, sys, time
        def note(number, frame):
            with open({str(signals)!r}, "a") as file:
                file.write(signal.Signals(number).name + "\\n")
            time.sleep(0.3)
            print("in order")
            sys.exit(0)
        signal.signal(signal.SIGINT, note)
        print("ready", flush=True)
        time.sleep(60)
        """
    )

    def interrupt(number: int, _frame: object) -> None:
        raise Interrupted(number)

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 1.0)
    try:
        with pytest.raises(Interrupted):
            HostRunner(screen).run(program, echo=True)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert signals.read_text() == "SIGINT\n"
    assert "in order" in screen.text


def test_interrupt_ends_programs_of_other_threads(screen: Screen) -> None:
    runner = HostRunner(screen)
    ended: list[BaseException] = []

    def wait_long() -> None:
        try:
            runner.run(["sleep", "60"])
        except Interrupted as interrupted:
            ended.append(interrupted)

    threads = [threading.Thread(target=wait_long) for _ in range(2)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    runner.interrupt()
    for thread in threads:
        thread.join()
    assert len(ended) == 2
    assert time.monotonic() - began < 10


def test_programs_end_with_a_run_that_is_killed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = f"""
        from control.console import Console
        from control.runner import HostRunner
        HostRunner(Console()).run(["sh", "-c", "echo $$ > {pid_file}; exec sleep 60"])
    """
    parent = subprocess.Popen(python(code), cwd=Path(__file__).parents[2])
    deadline = time.monotonic() + 10
    while not (pid_file.exists() and pid_file.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    assert has_ended(int(pid_file.read_text()))


def test_environment_of_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIRTUAL_ENV", "/somewhere")
    monkeypatch.setenv("MAKEFLAGS", "-j8")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("PATH", "/bin")
    result = child_environment({"EXTRA": "1"})
    assert "VIRTUAL_ENV" not in result
    assert "MAKEFLAGS" not in result
    assert "PYTHONDONTWRITEBYTECODE" not in result
    assert result["PATH"] == "/bin:/usr/local/sbin:/usr/sbin:/sbin"
    assert result["LC_ALL"] == "C.UTF-8"
    assert (result["ORT_DISABLE_TELEMETRY"], result["MLFLOW_DISABLE_TELEMETRY"]) == ("1", "true")
    assert result["EXTRA"] == "1"


def has_ended(process_id: int) -> bool:
    """Whether a process is gone, or a zombie that nobody has waited for, within a moment."""
    for _ in range(100):
        try:
            os.kill(process_id, 0)
            state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False
