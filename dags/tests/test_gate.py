"""Model tests of the gate: each kind of bad version is refused with its reason."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from conftest import contender_of, cost_without_measuring, evidence_of
from covertype import gate
from covertype.budget import ServingBudget, measure
from covertype.dataset import Split
from covertype.errors import PipelineError
from covertype.evidence import Evidence
from covertype.export import ExportedModel, feature_schema
from covertype.gate import Assessment, Contender, assess, decide


@pytest.fixture(autouse=True)
def quick(good_assessment: Assessment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Costs are measured once, for the good model."""
    monkeypatch.setattr(gate, "measure", cost_without_measuring)


@pytest.fixture(scope="session")
def good_assessment(good: ExportedModel, parts: Split) -> Assessment:
    return assess(contender_of(good, parts, version=2), parts.test)


@pytest.fixture(scope="session")
def worse_assessment(worse: ExportedModel, parts: Split) -> Assessment:
    return assess(contender_of(worse, parts, version=1), parts.test)


def refusal(contender: Contender, parts: Split) -> str:
    decision = decide(assess(contender, parts.test), None, parts.test)
    assert not decision.accepted
    return decision.reason


def test_the_first_version_takes_production_if_it_passes_all_checks(
    good_assessment: Assessment, parts: Split
) -> None:
    assert good_assessment.failures == []
    decision = decide(good_assessment, None, parts.test)
    assert decision.accepted
    assert decision.current is None
    assert "no version was in production" in decision.reason
    assert {"accuracy", "macro_f1", "onnx_load_memory_bytes"} <= set(decision.figures)


def test_a_better_one_takes_production(
    good_assessment: Assessment, worse_assessment: Assessment, parts: Split
) -> None:
    decision = decide(good_assessment, worse_assessment, parts.test)
    assert decision.accepted, decision.reason
    assert decision.current == 1
    assert "better by more than noise" in decision.reason
    assert decision.figures["accuracy_p_value"] < 0.05


def test_a_worse_one_and_an_equal_one_are_refused(
    good_assessment: Assessment, worse_assessment: Assessment, parts: Split
) -> None:
    for contender in (worse_assessment, replace(good_assessment, version=3)):
        decision = decide(contender, good_assessment, parts.test)
        assert not decision.accepted
        assert "not better by more than noise" in decision.reason
        assert "of version 2" in decision.reason


def test_a_better_one_that_costs_a_class_its_recall_is_refused(
    good_assessment: Assessment, worse_assessment: Assessment, parts: Split
) -> None:
    labels = parts.test.labels
    # Perfect but for a class of which it misses what the other finds.
    lost = np.flatnonzero((labels == 2) & (worse_assessment.predicted == 2))[:15]
    predicted = labels.copy()
    predicted[lost] = 5
    decision = decide(replace(good_assessment, predicted=predicted), worse_assessment, parts.test)
    assert not decision.accepted
    assert "recall of Ponderosa Pine is 0." in decision.reason


def test_a_leaking_one_is_refused(good: ExportedModel, parts: Split) -> None:
    hashes = np.append(parts.fit.hashes, parts.test.hashes[:3])
    leaking = replace(evidence_of(good, parts), fitted=hashes)
    reason = refusal(replace(contender_of(good, parts), evidence=leaking), parts)
    assert reason == f"Leak: it was fitted to 3 of the {len(parts.test)} held-out rows."


def test_one_that_does_not_say_what_it_was_fitted_to_is_refused(
    good: ExportedModel, parts: Split
) -> None:
    reason = refusal(replace(contender_of(good, parts), evidence=None), parts)
    assert "no record of the rows" in reason


def test_one_too_large_is_refused(
    good: ExportedModel, parts: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "BUDGET", ServingBudget(model_bytes=1_000_000))
    assert "Its file is 1.7 MB, more than the 1 MB" in refusal(contender_of(good, parts), parts)


def test_one_whose_file_is_broken_is_refused(
    good: ExportedModel, parts: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "measure", measure)
    cut = good.content[: len(good.content) // 2]
    schema = feature_schema(hashlib.sha256(cut).hexdigest())
    broken = replace(contender_of(good, parts), content=cut, schema=schema)
    assert "ONNX Runtime cannot load or run the model" in refusal(broken, parts)


def test_one_whose_file_is_another_is_refused(
    good: ExportedModel, worse: ExportedModel, parts: Split
) -> None:
    reason = refusal(replace(contender_of(good, parts), content=worse.content), parts)
    assert "its digest differs" in reason
    assert "the conversion is wrong" in reason


def test_one_whose_conversion_is_wrong_is_refused(
    good: ExportedModel, worse: ExportedModel, parts: Split
) -> None:
    """The file is what its schema says, but predicts other classes than scikit-learn did."""
    converted = replace(contender_of(worse, parts), evidence=evidence_of(good, parts))
    assert "the conversion is wrong" in refusal(converted, parts)


def test_one_with_other_inputs_is_refused(good: ExportedModel, parts: Split) -> None:
    schema = {**feature_schema(good.sha256), "inputs": []}
    assert "feature schema" in refusal(replace(contender_of(good, parts), schema=schema), parts)
    assert "feature schema" in refusal(replace(contender_of(good, parts), schema=None), parts)


def test_a_version_in_production_that_leaks_is_no_measure(
    good_assessment: Assessment, worse_assessment: Assessment, parts: Split
) -> None:
    """It knows the held-out rows, so nothing could ever beat it."""
    holder = replace(
        good_assessment, predicted=parts.test.labels, leaks=True, failures=["Leak: all rows."]
    )
    decision = decide(worse_assessment, holder, parts.test)
    assert decision.accepted
    assert "cannot be compared with (Leak: all rows.)" in decision.reason


def test_evidence_is_stored_whole(good: ExportedModel, parts: Split) -> None:
    before = evidence_of(good, parts)
    after = Evidence.load(before.dump())
    assert np.array_equal(after.fitted, np.sort(before.fitted))
    assert np.array_equal(after.inputs, before.inputs)
    assert np.array_equal(after.expected, before.expected)
    assert before.dump() == after.dump()
    assert len(before.dump()) < 60_000


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04"])
def test_what_is_no_evidence_is_said_to_be_none(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"gate_evidence\.npz"):
        Evidence.load(content)


def test_costs_are_measured(good: ExportedModel, parts: Split) -> None:
    cost = measure(good.content, parts.test.features)
    assert cost.model_bytes == len(good.content)
    assert 30e6 < cost.load_memory_bytes < 300e6
    assert 0 < cost.load_seconds < 20
    assert 1 < cost.row_microseconds <= cost.row_microseconds_p99
    with pytest.raises(PipelineError, match="cannot load or run"):
        measure(b"no model", parts.test.features)
