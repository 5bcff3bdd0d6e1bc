"""What the operator sees, and the log that keeps all of it."""

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TextIO

from control.project import make_private_folder

_TERMINAL_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_LOGS_KEPT_PER_VERB = 20


def duration(seconds: float) -> str:
    """Write a duration as a person reads it: `4.2 s`, `3 min 07 s`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """Lay out rows in columns as wide as their widest cell."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [header, *rows]
    ]


class Console:
    """Prints to the operator and to the run's log.

    Attributes:
        log_path: the log file, None where the verb keeps none.
        colour: whether tools may colour what they print.
    """

    def __init__(self, log_path: Path | None = None, out: TextIO | None = None) -> None:
        self.log_path = log_path
        self._out = out or sys.stdout
        self._log = log_path.open("a", encoding="utf-8") if log_path else None
        self.colour = self._out.isatty()

    def say(self, text: str = "") -> None:
        """Print a line, at once."""
        print(text, file=self._out, flush=True)
        self.record(text)

    def record(self, text: str) -> None:
        """Write a line to the log alone, with the time of day and without colours."""
        if self._log:
            now = datetime.now().astimezone().strftime("%H:%M:%S")
            print(now, _TERMINAL_CODES.sub("", text), file=self._log, flush=True)

    def close(self) -> None:
        """Close the log."""
        if self._log:
            self._log.close()


def open_log(folder: Path, verb: str) -> Path:
    """Name the log of a run of this verb, and remove the oldest ones."""
    make_private_folder(folder)
    for old in sorted(folder.glob(f"{verb}-*.log"))[: -_LOGS_KEPT_PER_VERB + 1]:
        old.unlink(missing_ok=True)
    path = folder / f"{verb}-{datetime.now().astimezone():%Y%m%dT%H%M%S}.log"
    path.touch(mode=0o600)
    return path


class Steps:
    """Numbers the steps of a run and tells how long each took.

    Attributes:
        started: the clock's reading when the run began.
    """

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._number = 0
        self.started = time.monotonic()

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Print a line when the step begins and one when it is over, however it ends."""
        self._number += 1
        mark = f"[{self._number}/{self._total}]"
        began = time.monotonic()
        self._console.say(f"{mark} {title}")
        try:
            yield
        except BaseException:
            self._console.say(f"{mark} stopped after {duration(time.monotonic() - began)}")
            raise
        now = time.monotonic()
        self._console.say(
            f"{mark} done in {duration(now - began)} ({duration(now - self.started)} in all)"
        )
