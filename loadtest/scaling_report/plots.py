"""Draws the pictures of the page. The same results give the same bytes."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling_report.results import BUDGET, CLOSED, OPEN, Case, Result
from scaling_report.statistics import Group

_COLOURS = {1: "#0072b2", 2: "#e69f00", 4: "#009e73"}
_MIB = 2**20


@dataclass(frozen=True)
class Picture:
    """A picture with one panel for each figure.

    Attributes:
        name: its file, without ending.
        title: what it shows.
        kind: `closed` or `open`.
        figures: by panel title, what is drawn.
        unit: of the figures.
        is_logarithmic: whether the figures' axis is.
    """

    name: str
    title: str
    kind: str
    figures: Mapping[str, Callable[[Result], float]]
    unit: str
    is_logarithmic: bool = False


_TIMES: dict[str, Callable[[Result], float]] = {
    "p50": lambda result: result.p50,
    "p95": lambda result: result.p95,
    "p99": lambda result: result.p99,
}

PICTURES = (
    Picture(
        "open-rate",
        "Right answers at a fixed rate of requests",
        OPEN,
        {"": lambda result: result.rate},
        "answers per second",
    ),
    Picture(
        "open-time",
        "Time of a prediction at a fixed rate, waiting included",
        OPEN,
        _TIMES,
        "milliseconds",
        is_logarithmic=True,
    ),
    Picture(
        "closed-rate",
        "Right answers to clients that wait 1 to 2.5 s between their rounds",
        CLOSED,
        {"": lambda result: result.rate},
        "answers per second",
    ),
    Picture(
        "closed-time",
        "Time of a prediction for clients that wait between their rounds",
        CLOSED,
        _TIMES,
        "milliseconds",
        is_logarithmic=True,
    ),
    Picture(
        "held-back",
        "How long a replica is held back for having used up its share",
        OPEN,
        {"": lambda result: result.held_back * 100},
        "% of the time",
    ),
    Picture(
        "memory",
        "Memory that all replicas hold",
        OPEN,
        {"": lambda result: result.memory / _MIB},
        "MiB",
    ),
)


def draw(picture: Picture, groups: Mapping[Case, Group], path: Path) -> None:
    """Draw a picture of the budget's splits into a file."""
    shown = {
        case: group
        for case, group in groups.items()
        if case.setup == BUDGET and case.kind == picture.kind
    }
    with mpl.rc_context(
        {
            "font.size": 11,
            "axes.grid": True,
            "grid.alpha": 0.3,
            "axes.spines.top": False,
            "axes.spines.right": False,
            # Without these, identifiers are drawn at random and the date is noted.
            "svg.hashsalt": "scaling",
            "svg.fonttype": "path",
        }
    ):
        count = len(picture.figures)
        figure = Figure(figsize=(7.5 if count == 1 else 11, 4.5), layout="constrained")
        panels = figure.subplots(1, count, sharey=True, squeeze=False)[0]
        for axes, (title, value) in zip(panels, picture.figures.items(), strict=True):
            _panel(axes, title, value, picture, shown)
        panels[0].set_ylabel(picture.unit)
        panels[0].legend(frameon=False)
        figure.suptitle(picture.title)
        figure.savefig(path, metadata={"Date": None, "Creator": None})


def _panel(
    axes: Axes,
    title: str,
    value: Callable[[Result], float],
    picture: Picture,
    groups: Mapping[Case, Group],
) -> None:
    axes.set_title(title)
    axes.set_xscale("log")
    if picture.is_logarithmic:
        axes.set_yscale("log")
    loads = sorted({case.load for case in groups})
    axes.set_xticks(loads, [f"{load:,}" for load in loads], rotation=45)
    axes.minorticks_off()
    axes.set_xlabel("requests per second" if picture.kind == OPEN else "clients")
    for replicas in sorted({case.replicas for case in groups}):
        cases = [case for case in groups if case.replicas == replicas]
        spreads = [groups[case].spread(value) for case in cases]
        drawn = [
            (case, spread)
            for case, spread in zip(cases, spreads, strict=True)
            if not any(math.isnan(number) for number in spread.values)
        ]
        colour = _COLOURS[replicas]
        axes.errorbar(
            [case.load for case, _ in drawn],
            [spread.mean for _, spread in drawn],
            yerr=[
                [spread.mean - spread.low for _, spread in drawn],
                [spread.high - spread.mean for _, spread in drawn],
            ],
            color=colour,
            capsize=3,
            label=f"{replicas} replica{'s' if replicas > 1 else ''}",
        )
        for case, spread in drawn:
            # Hollow: something else than the API was at its limit.
            face = "white" if groups[case].limits else colour
            axes.plot(
                case.load, spread.mean, "o", markerfacecolor=face, markeredgecolor=colour, zorder=3
            )
    if not picture.is_logarithmic:
        axes.set_ylim(bottom=0)
