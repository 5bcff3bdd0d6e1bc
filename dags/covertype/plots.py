"""Pictures of a model for MLflow's pages."""

import io
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from covertype.candidates import Candidate, Score
from covertype.dataset import Ints
from covertype.evaluation import class_figures, confusion
from covertype.insight import Insight
from covertype.schema import CLASSES

_FOLDER = "plots"
_BLUE, _ORANGE, _GREY = "#2a6f97", "#e07a28", "#8d99a6"


def draw(
    candidate: Candidate,
    labels: Ints,
    predicted: Ints,
    insight: Insight,
    scores: Sequence[Score],
) -> dict[str, bytes]:
    """Draw everything.

    Args:
        candidate: What was fitted.
        labels: int64 [rows], true classes of the held-out rows.
        predicted: int64 [rows], predicted classes of the same.
        insight: How it learns and what it looks at.
        scores: Of the candidates it was chosen from; empty for one that was not chosen.

    Returns:
        PNG files by their path among the run's artifacts.
    """
    drawings: dict[str, tuple[tuple[float, float], Callable[[Axes], None]]] = {
        "confusion_matrix": ((8, 7), lambda axes: _confusion_matrix(axes, labels, predicted)),
        "class_metrics": ((9, 5), lambda axes: _class_metrics(axes, labels, predicted)),
        "learning_curve": ((8, 5), lambda axes: _learning_curve(axes, insight)),
        "feature_importance": ((9, 5), lambda axes: _feature_importance(axes, insight)),
    }
    if scores:
        drawings["front"] = ((9, 6), lambda axes: _front(axes, scores, candidate))
    return {
        f"{_FOLDER}/{name}.png": _picture(size, fill) for name, (size, fill) in drawings.items()
    }


def _picture(size: tuple[float, float], fill: Callable[[Axes], None]) -> bytes:
    # Not pyplot: it keeps figures for a window that nobody opens.
    figure = Figure(figsize=size, layout="tight")
    FigureCanvasAgg(figure)
    fill(figure.add_subplot())
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return file.getvalue()


def _confusion_matrix(axes: Axes, labels: Ints, predicted: Ints) -> None:
    counts = confusion(labels, predicted)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(counts.shape):
        axes.text(
            *(column, row, f"{shares[row, column]:.0%}\n{counts[row, column]}"),
            ha="center",
            va="center",
            fontsize=8,
            color="white" if shares[row, column] > 0.5 else "black",
        )
    numbers = range(len(CLASSES))
    axes.set_xticks(numbers, CLASSES, rotation=35, ha="right")
    axes.set_yticks(numbers, CLASSES)
    axes.set(
        title=f"Confusion on {len(labels)} held-out rows", xlabel="predicted", ylabel="true class"
    )


def _class_metrics(axes: Axes, labels: Ints, predicted: Ints) -> None:
    classes = class_figures(confusion(labels, predicted))
    places = np.arange(len(classes))
    for offset, name, colour in ((-0.27, "precision", _BLUE), (0, "recall", _ORANGE)):
        bars = axes.bar(
            *(places + offset, [getattr(one, name) for one in classes], 0.27),
            label=name,
            color=colour,
        )
        axes.bar_label(bars, fmt="%.2f", fontsize=7)
    bars = axes.bar(places + 0.27, [one.f1 for one in classes], 0.27, label="F1", color=_GREY)
    axes.bar_label(bars, fmt="%.2f", fontsize=7)
    names = [f"{one.name}\n{one.rows} rows" for one in classes]
    axes.set_xticks(places, names, fontsize=8)
    axes.set(title="Figures by class, held-out rows", ylim=(0, 1.2))
    axes.legend(ncols=3, loc="upper right")


def _learning_curve(axes: Axes, insight: Insight) -> None:
    rows = [point.rows for point in insight.learning]
    for name, colour in (("accuracy", _BLUE), ("macro_f1", _ORANGE)):
        values = [getattr(point, name) for point in insight.learning]
        axes.plot(rows, values, "o-", color=colour, label=name.replace("_", "-"))
        for place, value in zip(rows, values, strict=True):
            axes.annotate(
                *(f"{value:.3f}", (place, value)),
                xytext=(0, 7),
                textcoords="offset points",
                ha="center",
                fontsize=8,
            )
    axes.set(
        title="Learning curve, held-out rows",
        xlabel="rows fitted to",
        ylabel="figure",
        xscale="log",
    )
    axes.set_xticks(rows, [f"{count:,}" for count in rows])
    axes.minorticks_off()
    axes.margins(0.1, 0.15)
    axes.grid(alpha=0.3)
    axes.legend()


def _feature_importance(axes: Axes, insight: Insight) -> None:
    ordered = sorted(insight.importance.items(), key=lambda item: item[1])
    bars = axes.barh([name for name, _ in ordered], [loss for _, loss in ordered], color=_BLUE)
    axes.bar_label(bars, fmt="%.3f", fontsize=8, padding=3)
    axes.set(
        title="Importance: accuracy lost when an input's values are shuffled",
        xlabel="loss of accuracy on held-out rows",
    )
    axes.margins(x=0.12)


def _front(axes: Axes, scores: Sequence[Score], candidate: Candidate) -> None:
    """Accuracy and latency of all candidates; the front is what no other beats in both."""
    for family, marker in (
        ("extra_trees", "o"),
        ("random_forest", "s"),
        ("hist_gradient_boosting", "^"),
    ):
        members = [one for one in scores if one.family == family and not one.refusal]
        axes.scatter(
            [one.row_microseconds for one in members],
            [one.accuracy for one in members],
            marker=marker,
            s=45,
            label=family.replace("_", " "),
        )
    for one in scores:
        if not one.refusal:
            axes.annotate(
                *(one.candidate[:2], (one.row_microseconds, one.accuracy)),
                xytext=(6, 3),
                textcoords="offset points",
                fontsize=8,
            )
    front = _undominated(scores)
    axes.plot(
        *([one.row_microseconds for one in front], [one.accuracy for one in front]),
        color=_GREY,
        linestyle="--",
        zorder=0,
        label="front",
    )
    chosen = [one for one in scores if one.candidate == candidate.name][-1]
    axes.scatter(
        *([chosen.row_microseconds], [chosen.accuracy]),
        s=190,
        facecolors="none",
        edgecolors="black",
        label="chosen",
    )
    axes.set(
        title="Candidates in cross-validation (a candidate of both rungs appears twice)",
        xlabel="median time for one row in ONNX Runtime, microseconds",
        ylabel="accuracy",
    )
    axes.grid(alpha=0.3)
    axes.legend()


def _undominated(scores: Sequence[Score]) -> list[Score]:
    front: list[Score] = []
    servable = [one for one in scores if not one.refusal]
    for one in sorted(servable, key=lambda score: (score.row_microseconds, -score.accuracy)):
        if not front or one.accuracy > front[-1].accuracy:
            front.append(one)
    return front
