"""The model card (Mitchell et al., 2019): what a version is, how good, and what it is not for."""

from collections.abc import Mapping

from covertype.candidates import Candidate
from covertype.dataset import TEST_SHARE, Split
from covertype.evaluation import ACCURACY, MACRO_F1, class_figures, confusion
from covertype.export import ExportedModel
from covertype.features import NAMES
from covertype.insight import Insight
from covertype.schema import INPUTS
from covertype.training import SEED


def write(
    candidate: Candidate,
    model: ExportedModel,
    figures: Mapping[str, float],
    insight: Insight,
    parts: Split,
    fingerprint: str,
) -> str:
    """Write the card in Markdown.

    Args:
        candidate: What was fitted.
        model: The fit.
        figures: On the held-out rows.
        insight: How it learns and what it looks at.
        parts: The rows.
        fingerprint: Of the rows, sha256 in hex.
    """
    settings = "\n".join(f"| {name} | {value} |" for name, value in candidate.params.items())
    classes = "\n".join(
        f"| {one.name} | {one.rows} | {one.precision:.3f} | {one.recall:.3f} | {one.f1:.3f} |"
        for one in class_figures(confusion(parts.test.labels, model.predicted))
    )
    important = sorted(insight.importance.items(), key=lambda item: -item[1])[:5]
    inputs = ", ".join(f"{name} ({loss:.3f})" for name, loss in important)
    cost = model.cost
    return f"""\
# Forest cover type: {candidate.family.replace("_", " ")}

Predicts which of seven cover types grows on a plot of 30 x 30 m, from {len(INPUTS)} cartographic
inputs.

## Quality

On {len(parts.test):,} held-out rows, which neither fitting nor the search saw:
**accuracy {figures[ACCURACY]:.4f}, macro-F1 {figures[MACRO_F1]:.4f}**.

| class | rows | precision | recall | F1 |
|---|---|---|---|---|
{classes}

Inputs that matter most (accuracy lost when shuffled): {inputs}.

## Cost of serving

| | |
|---|---|
| ONNX file | {cost.model_bytes / 1e6:.1f} MB |
| memory when loaded | {cost.load_memory_bytes / 1e6:.0f} MB |
| time to load at 0.125 CPU | {cost.load_seconds:.1f} s |
| median time for a row | {cost.row_microseconds:.0f} us |
| agreement with scikit-learn | {model.agreement:.3%} |

## Training

| | |
|---|---|
| candidate | {candidate.name} |
{settings}
| seed | {SEED} |
| rows fitted to | {len(parts.fit):,} |
| columns in the graph | {len(NAMES)}, {len(NAMES) - len(INPUTS)} of them derived from the inputs |
| data (sha256) | `{fingerprint}` |
| model.onnx (sha256) | `{model.sha256}` |

Held out are the rows whose content hash lies in the lowest {TEST_SHARE:.0%}, the same in every
load. Libraries, lock file and commit are tags of the run.

## Data and limits

UCI Covertype: four wilderness areas of the Roosevelt National Forest, Colorado (copyright Jock A.
Blackard and Colorado State University). It says nothing about other regions. Neighbouring plots
are alike, and held-out rows have neighbours among the fitted ones, so figures for an area that no
row is from would be lower. Rare classes (Cottonwood/Willow, Aspen) have the least certain figures.
"""
