"""Carries out the scaling study: one point after the other, each kept as soon as it is measured."""

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from control.console import Console, duration
from control.errors import ControlError
from control.study_plan import CLOSED, Plan, Point

# To begin with, until the study's own points tell better.
_SECONDS_OF_POINT = 30.0
_ATTEMPTS = 3
_PLAN_FILE = "study.json"
_NEEDED_BYTES = 100 * 2**20


class UnusablePointError(ControlError):
    """Something happened during a point that makes it worth nothing; it can be measured again."""


@dataclass(frozen=True)
class Measured:
    """What a point gave.

    Attributes:
        record: the conditions and the counters, for JSON.
        table: the raw table, as CSV.
    """

    record: Mapping[str, Any]
    table: str


class Laboratory(Protocol):
    """What points are measured with; the tests put a made-up one in its place."""

    def describe(self) -> dict[str, Any]:
        """Tell what is measured where: processors, kernel, versions."""
        ...

    def prepare(self, point: Point) -> None:
        """Deploy the set-up that a point needs.

        Raises:
            ControlError: that failed.
        """
        ...

    def measure(self, point: Point, plan: Plan) -> Measured:
        """Measure a point.

        Raises:
            UnusablePointError: the point is worth nothing, but can be tried again.
            ControlError: it cannot be measured.
        """
        ...

    def restore(self) -> None:
        """Deploy what the operator had before.

        Raises:
            ControlError: that failed.
        """
        ...


class Study:
    """A study whose results are in a folder.

    Args:
        plan: what is to be measured.
        folder: where the results are kept.
        laboratory: measures.
        console: tells the operator.
    """

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        laboratory: Laboratory,
        console: Console,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._laboratory = laboratory
        self._console = console
        self._clock = clock

    def run(self) -> None:
        """Measure all points that are not there yet.

        Raises:
            ControlError: a point cannot be measured; those that were are kept.
        """
        points = self._plan.points()
        missing = self._missing()
        self._console.say(f"    {len(points)} points, {len(points) - len(missing)} are there")
        if not missing:
            return
        self._begin()
        try:
            self._measure_all(missing, len(points))
        except (ControlError, OSError) as error:
            self._restore_after_failure()
            raise ControlError(
                f"{error}\nThe finished points are kept in {self._folder}; once that is mended, "
                "the same command goes on from here."
            ) from error
        except BaseException:
            # Whoever presses Ctrl-C does not want to wait for that.
            self._console.say("    `make up` puts back what was deployed before the study")
            raise
        self._console.say("    putting back what was deployed before")
        self._laboratory.restore()

    def is_under_way(self) -> bool:
        """Tell whether a study of the same plan, model and machine was begun and has not ended."""
        path = self._folder / _PLAN_FILE
        return path.exists() and bool(self._missing()) and path.read_text() == self._description()

    def _missing(self) -> list[Point]:
        return [point for point in self._plan.points() if not self._record(point).exists()]

    def _description(self) -> str:
        described = {
            "plan": self._plan.description(),
            "conditions": self._laboratory.describe(),
        }
        return json.dumps(described, indent=2) + "\n"

    def _restore_after_failure(self) -> None:
        self._console.say("    putting back what was deployed before")
        try:
            self._laboratory.restore()
        except ControlError as error:
            self._console.say(f"    that failed, `make up` does it: {error}")

    def _measure_all(self, missing: list[Point], total: int) -> None:
        began = self._clock()
        prepared: tuple[str, int] | None = None
        for done, point in enumerate(missing):
            elapsed = self._clock() - began
            each = elapsed / done if done else _SECONDS_OF_POINT
            left = duration(each * (len(missing) - done))
            number = total - len(missing) + done + 1
            self._console.say(f"[{number}/{total}] {point}; about {left} left")
            if prepared != (point.setup, point.replicas):
                self._laboratory.prepare(point)
                prepared = (point.setup, point.replicas)
            self._keep(point, self._measure(point))

    def _measure(self, point: Point) -> Measured:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._laboratory.measure(point, self._plan)
            except UnusablePointError as error:
                if attempt == _ATTEMPTS:
                    raise ControlError(
                        f"{point}: {error} That was so {_ATTEMPTS} times."
                    ) from error
                self._console.say(f"    {error} The point is measured again.")
        raise AssertionError

    def _begin(self) -> None:
        """Note what is measured where, or see that it is the same as what was begun."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(self._folder).free < _NEEDED_BYTES:
            raise ControlError(
                f"Less than {_NEEDED_BYTES // 2**20} MiB are free in {self._folder}, which its "
                "results may need: remove files there."
            )
        path = self._folder / _PLAN_FILE
        text = self._description()
        if not path.exists():
            _write(path, text)
        elif path.read_text() != text:
            raise ControlError(
                f"{self._folder} has results of another plan, model or machine, which cannot be "
                "mixed with new ones. Put that folder elsewhere, or remove it."
            )

    def _keep(self, point: Point, measured: Measured) -> None:
        record = {"point": asdict(point), **measured.record}
        _write(self._record(point).with_suffix(".csv"), measured.table)
        # Last: it tells that the point is there.
        _write(self._record(point), json.dumps(record, indent=2) + "\n")

    def _record(self, point: Point) -> Path:
        return self._folder / f"{point.name}.json"


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    unfinished = path.with_suffix(".unfinished")
    try:
        with unfinished.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def planned_seconds(point: Point, plan: Plan) -> float:
    """How long a point counts."""
    return plan.closed_seconds if point.kind == CLOSED else plan.open_seconds
