"""The page says what the figures say."""

import json
from typing import Any

import pytest

from bench.__main__ import FIGURES, PAGE
from bench.report import MODEL_NOT_IN_MEMORY, MODEL_STANDING_BY, render


def load(rate: float, **changes: Any) -> dict[str, Any]:
    """What `Load.figures` gives for a second of answers, all alike."""
    return {
        "seconds": 1.0,
        "due": int(rate),
        "per_second": rate,
        "p50_ms": 4.0,
        "p95_ms": 8.0,
        "p99_ms": 12.0,
        "slowest_ms": 20.0,
        "failed": 0,
        "statuses": {"200": int(rate)},
        "failures": {},
        "generator_late_ms": 0.5,
    } | changes


def split(replicas: int, rate: float) -> dict[str, Any]:
    limit = {"cpus": 0.5 / replicas, "cpu_period": 10000, "memory_bytes": 10 * 2**30 // replicas}
    peers = {
        "fastapi_onnx": load(1000.0),
        "mlflow_models_serve": load(100.0),
        "sklearn_pandas": load(10.0),
    }
    return {
        "limits": [limit],
        "capacity": load(rate),
        "at_70_percent": load(rate * 0.7, turns_p99_ms=[9.0, 11.0, 47.0]),
        "peers": peers,
    }


@pytest.fixture
def figures() -> dict[str, Any]:
    rounds = [
        {
            "splits": {str(count): split(count, rate) for count, rate in rates.items()},
            "bare_loop": {"per_second": 8000.0},
        }
        for rates in ({1: 3900.0, 2: 3600.0, 4: 2000.0}, {1: 4100.0, 2: 3600.0, 4: 2000.0})
    ]
    memory = {"before": 200 * 2**20, "after": 201 * 2**20}
    overload = load(3300.0, due=8000, statuses={"200": 3300, "503": 4700}, failed=4700)
    changed = load(1000.0, seconds_to_change=[1.5, 2.5, 6.5])
    return {
        "machine": {
            "processors": 2,
            "processor": "some",
            "memory_gib": 24.0,
            "kernel": "6.1",
            "cgroup": 2,
        },
        "model": {"name": "modelo1", "version": "7"},
        "cpus": 0.5,
        "cpu_period_microseconds": 10000,
        "memory_bytes": 10 * 2**30,
        "seconds": 1.0,
        "connections": 256,
        "rounds": rounds,
        "batches": {"1": load(400.0, rows_per_second=400), "10": load(90.0, rows_per_second=900)},
        "overload": {
            "1": overload
            | {
                "limits": [{"cpus": 0.25}],
                "capacity": load(4000.0),
                "memory_bytes": memory,
                "restarts": 0,
            }
        },
        "fuzzing": {
            "statuses": {"200": 900, "404": 20, "422": 1080},
            "memory_bytes": memory,
            "restarts": 0,
        },
        "changes": {
            MODEL_NOT_IN_MEMORY: load(1000.0, seconds_to_change=[12.5]),
            MODEL_STANDING_BY: changed,
            "another image": load(9.0, failed=3),
        },
    }


def test_ratios_and_spreads_are_computed(figures: dict[str, Any]) -> None:
    page = render(figures)
    assert "| what | 1 x 0.5 | 2 x 0.25 | 4 x 0.125 | aim for one |" in page
    assert "| this inference API | 4,000 | 3,600 | 2,000 |  |" in page
    rows = {line.split(" | ")[0]: line for line in page.splitlines()}
    onnx = rows["| FastAPI, pydantic and ONNX Runtime"]
    assert "| 1,000 (ours: 4.0 times) | 1,000 (ours: 3.6 times) | 1,000 (ours: 2.0 times) |" in onnx
    assert onnx.endswith("| aim 3 times: reached |")
    assert rows["| `mlflow models serve`"].endswith("| 100 (ours: 20.0 times) |  |")
    sklearn = rows["| FastAPI, pandas and scikit-learn"]
    assert "| 10 (ours: 400.0 times) |" in sklearn
    assert "| 8,000 (ours: 50%) |  |  | aim at least 45%: reached |" in page
    assert "| 2 x 0.25 | 3,600 | 3,600 to 3,600 | 90% (aim 85%: reached) |" in page
    p99 = "| 11.0 ms (aim 25 ms: reached) | 9.0 to 47.0 ms | 12.0 ms (aim 25 ms: reached) |"
    assert f"{p99} 0 ms | 0 |" in page


def test_what_is_not_reached_is_said(figures: dict[str, Any]) -> None:
    page = render(figures)
    assert "50% (aim 70%: not reached)" in page
    assert "| 3 (aim none: not reached) |" in page
    assert "the longest 6.5 s (aim 5 s: not reached)" in page
    assert "which each replica does with what its share leaves: 12.5 s." in page
    figures["rounds"][0]["splits"]["1"]["peers"]["sklearn_pandas"]["per_second"] = 70.0
    figures["rounds"][1]["splits"]["4"]["at_70_percent"]["p99_ms"] = 41.0
    assert "| 41.0 ms (aim 40 ms: not reached) |" in render(figures)
    figures["rounds"][0]["splits"]["2"]["at_70_percent"]["turns_p99_ms"] = [26.0, 27.0, 28.0]
    figures["rounds"][1]["splits"]["2"]["at_70_percent"]["turns_p99_ms"] = [27.0]
    assert "| 27.0 ms (aim 25 ms: not reached) |" in render(figures)
    beyond = "aim 200 times: not reached (the bare loop: 200.0 times)"
    assert beyond in render(figures)


def test_overload_tells_refusals_from_what_must_not_be(figures: dict[str, Any]) -> None:
    row = next(line for line in render(figures).splitlines() if "| 1 x 0.25 | 4,000 |" in line)
    assert "82% (aim 80%: reached)" in row
    assert "| 4,700 | 0 (aim none: reached) | 200 -> 201 MiB | 0 |" in row
    figures["overload"]["1"]["statuses"]["502"] = 2
    figures["overload"]["1"]["failures"] = {"connection closed": 1}
    row = next(line for line in render(figures).splitlines() if "| 1 x 0.25 | 4,000 |" in line)
    assert "| 4,700 | 3 (aim none: not reached) |" in row


def test_every_figure_counts(figures: dict[str, Any]) -> None:
    page = render(figures)
    figures["rounds"][1]["splits"]["4"]["peers"]["sklearn_pandas"]["per_second"] = 20.0
    assert render(figures) != page


def test_fuzzing_is_told(figures: dict[str, Any]) -> None:
    page = render(figures)
    assert (
        "2,000 requests, half of them wrong in some way: 900 x 200, 20 x 404, 1,080 x 422" in page
    )
    assert "200 -> 201 MiB; restarts: 0." in page


def test_the_page_is_the_one_of_the_figures() -> None:
    assert render(json.loads(FIGURES.read_text())) == PAGE.read_text()
