"""The page says what the figures say."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from bench.report import render

TOP = Path(__file__).resolve().parents[2]
FIGURES = TOP / "api" / "bench" / "results.json"
PAGE = TOP / "docs" / "results" / "serving.md"


@pytest.fixture
def figures() -> Any:
    return json.loads(FIGURES.read_text())


def test_page_and_figures_agree(figures: Any) -> None:
    assert PAGE.read_text() == render(figures)


def test_other_figures_give_another_page(figures: Any) -> None:
    other = copy.deepcopy(figures)
    other["rounds"][0]["references"]["sklearn_pandas"]["per_second"] *= 2
    assert render(other) != render(figures)


def test_what_is_not_reached_is_said(figures: Any) -> None:
    changes = figures["changes"]
    changes["another image"]["failed"] = 3
    assert "| 3 (aim none: not reached) |" in render(figures)
