import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from control.errors import ControlError
from control.study import Measured, Study, UnusablePointError
from control.study_plan import (
    BUDGET,
    LIMITED_GENERATOR,
    LONG_PERIOD,
    SHORT,
    WHOLE,
    Point,
    setup_of,
)
from control.tests.conftest import Screen


class FakeLaboratory:
    """Measures nothing, on a clock that each point moves by ten seconds."""

    def __init__(self) -> None:
        self.prepared: list[tuple[str, int]] = []
        self.measured: list[Point] = []
        self.restored = 0
        self.now = 0.0
        self.conditions: dict[str, Any] = {"cores": 2}
        self.happens: Callable[[Point], None] = lambda point: None

    def describe(self) -> dict[str, Any]:
        return self.conditions

    def prepare(self, point: Point) -> None:
        self.prepared.append((point.setup, point.replicas))

    def measure(self, point: Point, _: object) -> Measured:
        self.now += 10
        self.happens(point)
        self.measured.append(point)
        return Measured({"window_seconds": 1}, "a,b\n")

    def restore(self) -> None:
        self.restored += 1


@pytest.fixture
def laboratory() -> FakeLaboratory:
    return FakeLaboratory()


def study(folder: Path, laboratory: FakeLaboratory, screen: Screen) -> Study:
    return Study(SHORT, folder, laboratory, screen, clock=lambda: laboratory.now)


def test_every_point_is_measured_and_kept(
    tmp_path: Path, laboratory: FakeLaboratory, screen: Screen
) -> None:
    study(tmp_path / "results", laboratory, screen).run()
    points = SHORT.points()
    assert laboratory.measured == points
    assert laboratory.restored == 1
    # A set-up is deployed once for its points.
    assert len(laboratory.prepared) == 2
    names = {path.name for path in (tmp_path / "results").iterdir()}
    kept = {f"{point.name}.{ending}" for point in points for ending in ("json", "csv")}
    assert names == {*kept, "study.json"}
    record = json.loads((tmp_path / "results" / f"{points[0].name}.json").read_text())
    assert record["point"]["setup"] == points[0].setup
    assert record["window_seconds"] == 1
    assert f"[1/{len(points)}]" in screen.text
    assert f"[{len(points)}/{len(points)}]" in screen.text
    assert "about 10.0 s left" in screen.text


def test_a_stopped_study_goes_on(
    tmp_path: Path, laboratory: FakeLaboratory, screen: Screen
) -> None:
    def stop(point: Point) -> None:
        if len(laboratory.measured) == 1:
            raise KeyboardInterrupt

    laboratory.happens = stop
    with pytest.raises(KeyboardInterrupt):
        study(tmp_path, laboratory, screen).run()
    assert laboratory.restored == 0
    assert "`make up` puts back" in screen.text
    laboratory.happens = lambda point: None
    assert study(tmp_path, laboratory, screen).is_under_way()
    study(tmp_path, laboratory, screen).run()
    assert laboratory.measured == SHORT.points()
    assert not study(tmp_path, laboratory, screen).is_under_way()
    study(tmp_path, laboratory, screen).run()
    assert laboratory.measured == SHORT.points()
    assert laboratory.restored == 1


def test_a_point_that_was_disturbed_is_measured_again(
    tmp_path: Path, laboratory: FakeLaboratory, screen: Screen
) -> None:
    disturbed: list[Point] = []

    def disturb(point: Point) -> None:
        if not disturbed:
            disturbed.append(point)
            raise UnusablePointError("inference-api-1 ended meanwhile.")

    laboratory.happens = disturb
    study(tmp_path, laboratory, screen).run()
    assert laboratory.measured == SHORT.points()
    assert "inference-api-1 ended meanwhile. The point is measured again." in screen.text


def test_a_point_that_cannot_be_measured_ends_the_study(
    tmp_path: Path, laboratory: FakeLaboratory, screen: Screen
) -> None:
    def fail(point: Point) -> None:
        if laboratory.measured:
            raise UnusablePointError("inference-api-1 ended meanwhile.")

    laboratory.happens = fail
    with pytest.raises(ControlError, match=r"That was so 3 times\.\nThe finished points are kept"):
        study(tmp_path, laboratory, screen).run()
    assert len(list(tmp_path.glob("*.csv"))) == 1
    assert laboratory.restored == 1


def test_what_cannot_be_put_back_hides_no_failure(
    tmp_path: Path, laboratory: FakeLaboratory, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Point) -> None:
        raise ControlError("loadtest cannot be asked over ssh.")

    def fail_to_restore() -> None:
        raise ControlError("Ansible ended with code 4.")

    laboratory.happens = fail
    monkeypatch.setattr(laboratory, "restore", fail_to_restore)
    with pytest.raises(ControlError, match="loadtest cannot be asked"):
        study(tmp_path, laboratory, screen).run()
    assert "that failed, `make up` does it: Ansible ended with code 4." in screen.text


def test_full_disk(
    tmp_path: Path, laboratory: FakeLaboratory, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(point: Point) -> None:
        if laboratory.measured:
            raise OSError(28, "No space left on device")

    laboratory.happens = fill
    with pytest.raises(ControlError, match=r"No space left .*\nThe finished points are kept"):
        study(tmp_path, laboratory, screen).run()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0))
    with pytest.raises(ControlError, match="100 MiB are free"):
        study(tmp_path, laboratory, screen).run()


def test_results_of_something_else_are_not_mixed(
    tmp_path: Path, laboratory: FakeLaboratory, screen: Screen
) -> None:
    study(tmp_path, laboratory, screen).run()
    next(tmp_path.glob("budget*.json")).unlink()
    assert study(tmp_path, laboratory, screen).is_under_way()
    laboratory.conditions = {"cores": 64}
    assert not study(tmp_path, laboratory, screen).is_under_way()
    with pytest.raises(ControlError, match="another plan, model or machine"):
        study(tmp_path, laboratory, screen).run()


def test_the_whole_plan() -> None:
    points = WHOLE.points()
    assert points == WHOLE.points()
    assert len({point.name for point in points}) == len(points)
    assert {point.replicas for point in points} == {1, 2, 4}
    counted = {point.load for point in points if point.setup == BUDGET and point.kind == "closed"}
    assert counted == {100, 500, 1000, 2500, 5000, 10_000}
    repetitions = [point.repetition for point in points]
    assert repetitions == sorted(repetitions)
    # Not in the order of their loads.
    rates = [point.load for point in points if point.kind == "open"]
    assert rates != sorted(rates)


def test_each_set_up_limits_what_it_is_about() -> None:
    def point(setup: str) -> Point:
        return Point(setup, 4, "closed", 500, 1)

    assert setup_of(point(BUDGET), 2).platform_variables == {"inference_replicas": 4}
    assert setup_of(point(BUDGET), 2).load_variables == {}
    assert setup_of(point(LONG_PERIOD), 2).platform_variables["inference_cpu_period"] == 100_000
    mistaken = setup_of(point(LIMITED_GENERATOR), 2)
    assert mistaken.platform_variables["inference_cpus"] == 8.0
    assert mistaken.load_variables == {"locust_cpus": 0.25}
