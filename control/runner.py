"""Runs other programs: shows or keeps what they print, and passes signals on to them."""

import codecs
import ctypes
import os
import selectors
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from control.console import Console
from control.errors import ControlError, Interrupted

CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")

_SHOWN_LINES = 25
# What is set for this process alone: another Python than a program's own, options of `make`, and
# the wish to keep no byte code, with which Ansible and others would compile all of themselves at
# each start.
_NOT_HANDED_ON = (
    *("VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE"),
    *("MAKEFLAGS", "MFLAGS", "MAKELEVEL"),
)
_POLL_SECONDS = 0.1
# A background process that a program leaves behind can hold its output open for ever.
_DRAIN_SECONDS = 0.5
# Terraform and Ansible finish what they are in the middle of before they stop.
_INTERRUPT_SECONDS = 60.0
_TERMINATE_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)

Command = Sequence[str | Path]


@dataclass(frozen=True)
class Completed:
    """How a program ended.

    Attributes:
        returncode: its exit code, negative for a signal.
        stdout: what it printed; with `echo` this has the errors too, in order.
        stderr: what it printed as errors; empty with `echo`.
    """

    returncode: int
    stdout: str = ""
    stderr: str = ""


class CommandError(ControlError):
    """A program ended with an error.

    Attributes:
        completed: how it ended and what it printed.
    """

    def __init__(self, command: Command, completed: Completed, *, shown: bool) -> None:
        printed = (completed.stderr.strip() or completed.stdout.strip()).splitlines()
        tail = "" if shown else "".join(f"\n  {line}" for line in printed[-_SHOWN_LINES:])
        super().__init__(
            f"`{_shorten(command)}` ended with code {completed.returncode}"
            + (f", after printing:{tail}" if tail else ".")
        )
        self.completed = completed


class Runner(Protocol):
    """Runs programs; the tests put a made-up one in its place."""

    def run(
        self,
        command: Command,
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        input_text: str | None = None,
        timeout: float | None = None,
        check: bool = True,
        echo: bool = False,
    ) -> Completed:
        """Run a program to its end.

        Args:
            command: the program and its arguments; no shell reads them.
            cwd: the folder to run it in.
            env: variables added to this process's own.
            input_text: given to it as standard input, which is empty otherwise.
            timeout: seconds after which it is stopped.
            check: whether an exit code other than 0 is a failure.
            echo: whether to show what it prints as it comes.

        Raises:
            CommandError: the exit code is not 0 and `check` is set.
            ControlError: the program is not there, or took longer than `timeout`.
            Interrupted: `interrupt` was called meanwhile.
        """
        ...

    def interrupt(self) -> None:
        """Interrupt every program that runs, in whichever thread, and all that are begun later."""
        ...


def child_environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment as other programs should see it, with additions.

    Their messages are in English, their output is not held back, system programs are found
    (a plain user's PATH lacks sbin), what downloads trusts the host's own certificates, and
    libraries tell their makers nothing.
    """
    result = dict(os.environ)
    for name in _NOT_HANDED_ON:
        result.pop(name, None)
    result["LC_ALL"] = "C.UTF-8"
    result["PYTHONUNBUFFERED"] = "1"
    result["ORT_DISABLE_TELEMETRY"] = "1"
    result["MLFLOW_DISABLE_TELEMETRY"] = "true"
    folders = result.get("PATH", "").split(os.pathsep)
    missing = [
        folder for folder in ("/usr/local/sbin", "/usr/sbin", "/sbin") if folder not in folders
    ]
    result["PATH"] = os.pathsep.join([*folders, *missing])
    if CA_BUNDLE.exists():
        result.setdefault("SSL_CERT_FILE", str(CA_BUNDLE))
        result.setdefault("PIP_CERT", str(CA_BUNDLE))
    result.update(env or {})
    return result


class HostRunner:
    """Runs programs on this host."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._interrupted = threading.Event()

    def interrupt(self) -> None:
        """Interrupt every program; see `Runner`."""
        self._interrupted.set()

    def run(
        self,
        command: Command,
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        input_text: str | None = None,
        timeout: float | None = None,
        check: bool = True,
        echo: bool = False,
    ) -> Completed:
        """Run a program to its end; see `Runner`."""
        self._console.record(f"$ {shlex.join(map(str, command))}")
        try:
            process = subprocess.Popen(
                [str(part) for part in command],
                cwd=cwd,
                env=child_environment(env),
                stdin=subprocess.DEVNULL if input_text is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if echo else subprocess.PIPE,
                # Ctrl-C in a terminal reaches the whole foreground group. In a session of its
                # own the program gets the signal from `_stop` alone, once: Terraform takes a
                # second one as leave to drop everything without saving its state.
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        except FileNotFoundError as error:
            raise ControlError(
                f"{command[0]} is not installed, or its folder {cwd} is missing."
            ) from error
        output = _Output(process, self._console, echo=echo)
        try:
            if process.stdin:
                process.stdin.write((input_text or "").encode())
                process.stdin.close()
            ended = output.follow(timeout, self._interrupted)
        except BaseException as error:
            _stop(process, output, interrupted=isinstance(error, Interrupted | KeyboardInterrupt))
            raise
        if not ended:
            _stop(process, output, interrupted=False)
            raise ControlError(
                f"`{_shorten(command)}` was stopped: it took longer than {timeout:.0f} s."
            )
        completed = Completed(process.returncode, *output.texts())
        self._console.record(f"= {completed.returncode}")
        if check and completed.returncode != 0:
            raise CommandError(command, completed, shown=echo)
        return completed


class _Output:
    """Collects what a program prints, line by line, until it ends."""

    def __init__(self, process: subprocess.Popen[bytes], console: Console, *, echo: bool) -> None:
        self._process = process
        self._console = console
        self._echo = echo
        self._selector = selectors.DefaultSelector()
        self._streams: list[_Stream] = []
        for pipe in (process.stdout, process.stderr):
            if pipe:
                stream = _Stream(pipe)
                self._streams.append(stream)
                self._selector.register(pipe, selectors.EVENT_READ, stream)

    def follow(self, timeout: float | None, interrupted: threading.Event | None = None) -> bool:
        """Read until the program ends; False where `timeout` seconds pass before that.

        Raises:
            Interrupted: `interrupted` was set before the program had ended.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        drain_until: float | None = None
        while self._selector.get_map():
            now = time.monotonic()
            if deadline is not None and now >= deadline and self._process.poll() is None:
                return False
            if drain_until is not None and now >= drain_until:
                break
            if interrupted is not None and interrupted.is_set():
                raise Interrupted
            self._read_once()
            if drain_until is None and self._process.poll() is not None:
                drain_until = time.monotonic() + _DRAIN_SECONDS
        for stream in self._streams:
            self._show(stream.finish())
        while self._process.poll() is None:
            if deadline is not None and time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def texts(self) -> tuple[str, ...]:
        """What came, one text for each stream."""
        return tuple("".join(stream.parts) for stream in self._streams)

    def _read_once(self) -> None:
        for key, _ in self._selector.select(_POLL_SECONDS):
            stream: _Stream = key.data
            chunk = os.read(key.fd, 65536)
            if not chunk:
                self._selector.unregister(key.fileobj)
            self._show(stream.feed(chunk))

    def _show(self, lines: list[str]) -> None:
        for line in lines:
            if self._echo:
                self._console.say(f"    {line}" if line else "")
            else:
                self._console.record(f"    {line}")


class _Stream:
    """Turns a pipe's bytes into text and whole lines."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self.parts: list[str] = []
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._line = ""
        os.set_blocking(pipe.fileno(), True)

    def feed(self, chunk: bytes) -> list[str]:
        """Take bytes; give the lines they complete."""
        text = self._decoder.decode(chunk)
        self.parts.append(text)
        *lines, self._line = (self._line + text).split("\n")
        return [line.rstrip("\r") for line in lines]

    def finish(self) -> list[str]:
        """Give the last line, where the program did not end it."""
        rest, self._line = self._line, ""
        return [rest] if rest else []


def _die_with_parent() -> None:
    """Let the kernel end the program when this one is killed, so that none is left behind."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _stop(process: subprocess.Popen[bytes], output: _Output, *, interrupted: bool) -> None:
    """End a program and all that it started, giving it time to leave things in order."""
    try:
        if interrupted:
            _signal(process, signal.SIGINT)
            if output.follow(_INTERRUPT_SECONDS):
                return
        _signal(process, signal.SIGTERM)
        output.follow(_TERMINATE_SECONDS)
    finally:
        # Also reached by a second Ctrl-C, which means: now.
        if process.poll() is None:
            _signal(process, signal.SIGKILL)
            process.wait()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


def _shorten(command: Command) -> str:
    text = shlex.join(map(str, command))
    return text if len(text) <= 200 else f"{text[:197]}..."
