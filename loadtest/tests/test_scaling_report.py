import math
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from scaling_report.__main__ import main
from scaling_report.page import PAGE
from scaling_report.results import Case, ResultsError, percentile, read_study
from scaling_report.statistics import Spread, compare, group
from tests.made_study import MadeStudy

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def made(tmp_path: Path) -> MadeStudy:
    """Two splits: two replicas answer less, and as fast."""
    study = MadeStudy(tmp_path / "results")
    study.open("budget", 1, 1000, [10_000, 10_000], p99=10)
    study.open("budget", 2, 1000, [10_000, 10_000], p99=10)
    study.open("budget", 1, 8000, [60_000, 62_000], p99=900)
    study.open("budget", 2, 8000, [40_000, 41_000], p99=900)
    study.closed("budget", 1, 500, [855.0, 858.0])
    study.closed("budget", 2, 500, [856.0, 857.0])
    study.closed("budget", 2, 10_000, [1400.0, 1390.0], failures=7, worker_seconds=9.6)
    study.closed("long-period", 2, 500, [856.0, 857.0], p99=60)
    study.closed("limited-generator", 1, 500, [300.0, 310.0])
    study.closed("limited-generator", 2, 500, [305.0, 306.0])
    return study


def text(made: MadeStudy, folder: Path) -> str:
    assert main([str(made.folder), str(folder)]) == 0
    return (folder / "scaling.md").read_text()


def test_figures_of_a_point(made: MadeStudy) -> None:
    groups = group(read_study(made.folder).results)
    at_a_rate = groups[Case("budget", "open", 1, 8000)].results[0]
    assert at_a_rate.rate == 6000
    assert (at_a_rate.asked, at_a_rate.refused, at_a_rate.failed) == (80_000, 20_000, 0)
    assert (at_a_rate.p50, at_a_rate.p99, at_a_rate.longest) == (2.0, 900.0, 900.0)
    assert at_a_rate.inference_cpus == 0.2
    assert at_a_rate.held_back == 0.25
    assert at_a_rate.balancer_cpus == 0.3
    clients = groups[Case("budget", "closed", 2, 500)].results[0]
    assert (clients.rate, clients.failed, clients.p99) == (856.0, 0, 20.0)
    # A round is three answers of 5 ms and a waiting of 1.75 s.
    assert clients.due_rate == pytest.approx(500 * 3 / 1.765)
    assert clients.inference_cpus == 0.4
    assert clients.memory == 200 * 2**20
    assert clients.generator_cpus == 0.6


def test_what_else_was_at_its_limit(tmp_path: Path) -> None:
    study = MadeStudy(tmp_path / "results")
    study.open("budget", 1, 1, [10])
    study.open("budget", 1, 2, [20], late=10.5)
    study.open("budget", 1, 3, [30], host_busy=0.98)
    study.closed("budget", 1, 4, [1.0], worker_seconds=9.0)
    study.closed("budget", 1, 5, [1.0], balancer_seconds=9.0)
    limits = [result.limits for result in read_study(study.folder).results]
    assert limits == [("generator",), ("nginx",), (), ("generator",), ("host",)]


def test_conclusions_are_computed(made: MadeStudy, tmp_path: Path) -> None:
    printed = text(made, tmp_path / "page")
    for sentence in (
        "- 1 replica: 6,100 (6,000 to 6,200) right predictions per second, when asked for 8,000;",
        "- **2 replicas instead of 1 do not help at any load**: p99 of a prediction, of 3 loads "
        "shorter at 0, longer at 0, no difference beyond the spread at 3; most predictions per "
        "second, 34 % less.",
        "- Processor time of a prediction at 1,000 requests per second, 2 replicas against 1: 100 "
        "% more.",
        "| 1,000 | 200 (200 to 200), 25 (25 to 25) | 400 (400 to 400), 25 (25 to 25) |",
        "- 2 replicas, 500 clients: 856 (856 to 857) right answers per second, 100.8 (100.7 to "
        "100.8) % of what so many can ask for with their waiting; p99 of a prediction 20 (20 to",
        "| p99 at | 2 replicas against 1 |",
        "| 1,000 requests per second | no difference beyond the spread |",
        "| 500 clients | no difference beyond the spread |",
        "| 10,000 clients | not measured |",
        "- 1 replica, up to 500 clients: 0 of 25,695 requests failed.",
        "- 2 replicas, up to 10,000 clients: 14 of 67,545 requests failed.",
        "- p99 with a period of 100 ms against one of 10 ms, 2 replicas, 500 clients: 200 % more.",
        "500 clients, 2 replicas against 1: no difference beyond the spread in answers per second",
        "| 1 replica | only `GET /models` completes, 22 to 26 requests/s | completes, 856 (855 to",
        "| 4 replicas | the whole flow completes, up to 31 requests/s | not measured or with",
        "20 points in random order (seed 6)",
    ):
        assert sentence in printed
    assert re.search(r"^\| 10,000 \| 1,395 .* \| generator \|$", printed, re.MULTILINE)
    assert "nan" not in printed


def test_what_helps_is_said(tmp_path: Path) -> None:
    study = MadeStudy(tmp_path / "results")
    study.open("budget", 1, 1000, [1000, 1000], p99=30)
    study.open("budget", 2, 1000, [1000, 1000], p99=10)
    printed = text(study, tmp_path / "page")
    assert (
        "- **2 replicas instead of 1 help**: p99 of a prediction, of 1 loads shorter at 1"
        in printed
    )
    study = MadeStudy(tmp_path / "more")
    study.open("budget", 1, 8000, [6000, 6100])
    study.open("budget", 2, 8000, [7000, 7100])
    printed = text(study, tmp_path / "page")
    assert "- **2 replicas instead of 1 help**:" in printed
    assert "most predictions per second, 17 % more." in printed


def test_the_most_of_a_split_is_not_compared_where_it_could_do_more(tmp_path: Path) -> None:
    study = MadeStudy(tmp_path / "results")
    study.open("budget", 1, 8000, [6000, 6100])
    study.open("budget", 2, 8000, [7000, 7100], late=10.5)
    printed = text(study, tmp_path / "page")
    assert "do not help at any load" in printed
    assert "most predictions per second, cannot be told, with generator at the limit." in printed


def test_the_same_results_give_the_same_bytes(made: MadeStudy, tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        text(made, folder)
    names = sorted(path.name for path in folders[0].iterdir())
    assert len(names) == 7
    for name in names:
        first, second = ((folder / name).read_bytes() for folder in folders)
        assert first == second, name
        if name.endswith(".svg"):
            ElementTree.fromstring(first)  # noqa: S314 - written here
            assert f"({name})" in (folders[0] / "scaling.md").read_text()


def test_the_page_is_that_of_the_results(tmp_path: Path) -> None:
    """What is committed: the raw results and the page, or neither."""
    results, kept = REPOSITORY / "loadtest" / "results", REPOSITORY / "docs" / "results"
    assert results.exists() == (kept / PAGE).exists()
    if results.exists():
        assert main([str(results), str(tmp_path)]) == 0
        made = {path.name for path in tmp_path.iterdir()}
        assert {path.name for path in kept.glob("*.svg")} | {PAGE} == made
        for name in made:
            assert (kept / name).read_bytes() == (tmp_path / name).read_bytes(), (
                f"{name}: `make study` writes the page anew"
            )


def test_clients_that_never_predicted(made: MadeStudy, tmp_path: Path) -> None:
    table = made.folder / "limited-generator-2x-closed-00500-1.csv"
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(line for line in lines if "/predict" not in line))
    printed = text(made, tmp_path / "page")
    assert "| - | - | - | - |" in printed
    assert "nan" not in printed


def test_compare() -> None:
    assert compare(Spread((10, 12)), Spread((12, 14))) == "no difference beyond the spread"
    assert compare(Spread((20, 20)), Spread((10, 10))) == "100 % more"
    assert compare(Spread((5, 5)), Spread((10, 10))) == "50 % less"
    assert "cannot be told" in compare(Spread((5,)), Spread((10, 10)))
    assert "nothing was answered" in compare(Spread((math.nan, 5)), Spread((10, 10)))


def test_percentiles() -> None:
    buckets = [(1.0, 50), (2.0, 49), (3.0, 1)]
    assert [percentile(buckets, percent) for percent in (50, 95, 99, 100)] == [1.0, 2.0, 2.0, 3.0]
    assert math.isnan(percentile([], 50))


def test_what_is_wrong_is_told(
    made: MadeStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "none"), str(tmp_path / "page")]) == 1
    assert "has no results of a study" in capsys.readouterr().err
    broken = next(made.folder.glob("budget-1x-open-*.csv"))
    broken.write_text("milliseconds at most,answers\nmany\n")
    with pytest.raises(ResultsError, match=broken.stem):
        read_study(made.folder)
