"""The gate: what a version must show before it serves anybody."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from covertype.behaviour import shortcomings
from covertype.budget import BUDGET, measure
from covertype.comparison import (
    SIGNIFICANCE,
    accuracy_difference,
    macro_f1_difference,
    recall_differences,
)
from covertype.dataset import Ints, Rows
from covertype.errors import PipelineError
from covertype.evaluation import ACCURACY, MACRO_F1, evaluate
from covertype.evidence import Evidence
from covertype.export import check_agreement, feature_schema, open_session, predict

MAX_RECALL_DROP = 0.03
"""How much of a class's recall a better model may cost."""


@dataclass(frozen=True)
class Contender:
    """A registered version as it is stored.

    Attributes:
        version: Its number.
        content: Of its ONNX file.
        schema: Its feature schema; None if it has none.
        evidence: What it brings along for the gate; None if it has none that can be read.
    """

    version: int
    content: bytes
    schema: Mapping[str, Any] | None
    evidence: Evidence | None


@dataclass(frozen=True)
class Assessment:
    """What can be said of a version by itself.

    Attributes:
        version: Its number.
        predicted: int64 [rows], its predictions of the held-out rows; None if it gives none.
        figures: Its figures on the held-out rows and its serving costs.
        failures: A sentence for each absolute check that it fails.
        leaks: Whether it was fitted to held-out rows, or does not say to which it was.
    """

    version: int
    predicted: Ints | None
    figures: Mapping[str, float]
    failures: list[str]
    leaks: bool

    @property
    def objective(self) -> float:
        """What versions of one run are ranked by; below zero where checks failed."""
        if self.failures:
            return -1.0
        return (self.figures[ACCURACY] + self.figures[MACRO_F1]) / 2


@dataclass(frozen=True)
class Decision:
    """The outcome for one version.

    Attributes:
        version: The version.
        current: The version in production before; None if there was none.
        accepted: Whether it takes production.
        reason: Why, in sentences.
        figures: What the decision rests on.
    """

    version: int
    current: int | None
    accepted: bool
    reason: str
    figures: Mapping[str, float] = field(default_factory=dict)


def assess(contender: Contender, held_out: Rows) -> Assessment:
    """Carry out the absolute checks, which every version must pass.

    It brings its evidence and takes the inputs that this pipeline sends; none of the held-out
    rows is among those it was fitted to; the stored file is the one that was tested, loads, and
    says what scikit-learn said; its costs, measured anew, are within the serving budget; it
    behaves as it must on real rows.

    Args:
        contender: The version.
        held_out: The held-out rows of the present load.
    """
    failures, leaks = _check_evidence(contender, held_out)
    schema, figures = contender.schema, dict[str, float]()
    if schema is None or schema.get("inputs") != feature_schema("")["inputs"]:
        failures.append("Its feature schema is not that of the rows in Postgres.")
        return Assessment(contender.version, None, figures, failures, leaks)
    if hashlib.sha256(contender.content).hexdigest() != schema["onnx"]["sha256"]:
        failures.append("Its ONNX file is not the one that was tested: its digest differs.")
    try:
        cost = measure(contender.content, held_out.features)
        session = open_session(contender.content)
        predicted = predict(session, held_out.features)
        if contender.evidence:
            expected = contender.evidence.expected
            check_agreement(predict(session, contender.evidence.inputs), expected)
    except PipelineError as error:
        return Assessment(contender.version, None, figures, [*failures, str(error)], leaks)
    figures = {
        **evaluate(held_out.labels, predicted),
        "onnx_bytes": cost.model_bytes,
        "onnx_load_memory_bytes": cost.load_memory_bytes,
        "onnx_load_seconds": cost.load_seconds,
        "onnx_row_microseconds": cost.row_microseconds,
    }
    failures += cost.excess(BUDGET)
    failures += shortcomings(lambda inputs: predict(session, inputs), held_out)
    return Assessment(contender.version, predicted, figures, failures, leaks)


def decide(contender: Assessment, current: Assessment | None, held_out: Rows) -> Decision:
    """Apply the rule.

    A version takes production if it passes all absolute checks (see ``assess``) and is better
    than the one in production on the same held-out rows by more than noise:

    * its accuracy (McNemar's test, mid-p) or its macro-F1 (paired bootstrap) is higher at the 5 %
      level, and neither of them is lower at that level;
    * no class's recall is lower by more than three percentage points, again at the 5 % level.

    Where no version is in production, or the one that is cannot be compared because it leaks,
    says nothing about the rows it was fitted to or gives no predictions, the absolute checks
    decide alone.

    Args:
        contender: The version that wants production.
        current: The version in production, if there is one.
        held_out: The rows that both were assessed on.
    """
    holder = current.version if current else None
    if contender.failures or contender.predicted is None:
        reason = " ".join(contender.failures)
        return Decision(contender.version, holder, False, reason, contender.figures)
    if current is None:
        reason = "It passes all checks, and no version was in production."
        return Decision(contender.version, holder, True, reason, contender.figures)
    if current.predicted is None or current.leaks:
        reason = (
            f"It passes all checks; version {holder} in production cannot be compared with "
            f"({' '.join(current.failures)})"
        )
        return Decision(contender.version, holder, True, reason, contender.figures)
    predictions = (held_out.labels, contender.predicted, current.predicted)
    accuracy, macro_f1 = accuracy_difference(*predictions), macro_f1_difference(*predictions)
    figures = {
        **contender.figures,
        "current_accuracy": current.figures[ACCURACY],
        "current_macro_f1": current.figures[MACRO_F1],
        "accuracy_p_value": accuracy.p_value,
        "macro_f1_p_value": macro_f1.p_value,
    }
    compared = (
        f"Accuracy {contender.figures[ACCURACY]:.4f} against {current.figures[ACCURACY]:.4f} of "
        f"version {holder} (p = {accuracy.p_value:.3g}), macro-F1 "
        f"{contender.figures[MACRO_F1]:.4f} against {current.figures[MACRO_F1]:.4f} "
        f"(p = {macro_f1.p_value:.3g}), on {len(held_out)} held-out rows."
    )
    failures = [
        f"Its recall of {name} is {-drop.value:.3f} lower (p = {drop.p_value:.3g})."
        for name, drop in recall_differences(*predictions).items()
        if drop.is_loss and -drop.value > MAX_RECALL_DROP
    ]
    if accuracy.is_loss or macro_f1.is_loss or not (accuracy.is_gain or macro_f1.is_gain):
        failures.insert(0, f"It is not better by more than noise (p < {SIGNIFICANCE}).")
    verdict = failures or ["It passes all checks and is better by more than noise."]
    reason = " ".join([*verdict, compared])
    return Decision(contender.version, holder, not failures, reason, figures)


def _check_evidence(contender: Contender, held_out: Rows) -> tuple[list[str], bool]:
    if contender.evidence is None:
        reason = "It has no record of the rows that it was fitted to: a leak cannot be ruled out."
        return [reason], True
    seen = int(contender.evidence.has_seen(held_out.hashes).sum())
    if not seen:
        return [], False
    reason = f"Leak: it was fitted to {seen} of the {len(held_out)} held-out rows."
    return [reason], True
