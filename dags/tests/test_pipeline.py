"""Code tests of training and search, on a real MLflow: what is recorded, and running it again."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from servers import free_port

from conftest import GOOD, WORSE, SampleStore, cost_without_measuring
from covertype import evidence, pipeline, plots, registration, scoring
from covertype import export as export_module
from covertype.budget import ServingBudget
from covertype.candidates import Candidate, Score
from covertype.dataset import Split
from covertype.errors import PipelineError
from covertype.export import ExportedModel, feature_schema
from covertype.insight import Insight, LearningPoint, examine
from covertype.registry import Registry, Tracking

INSIGHT = Insight([LearningPoint(300, 0.6, 0.5), LearningPoint(2700, 0.7, 0.6)], {"Slope": 0.1})


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fits of the learning curve, and measuring, have tests of their own."""
    monkeypatch.setattr(export_module, "measure", cost_without_measuring)
    monkeypatch.setattr(registration, "examine", lambda *_: INSIGHT)
    monkeypatch.setattr(pipeline, "baseline_for", lambda _: WORSE)


def score(candidate: Candidate, objective: float, refusal: str = "") -> Score:
    return Score(
        candidate.name, candidate.family, candidate.params, objective, objective, 20.0, refusal
    )


def artifacts(run_id: str, path: str | None = None) -> Iterator[str]:
    for entry in mlflow.artifacts.list_artifacts(run_id=run_id, artifact_path=path):
        if entry.is_dir:
            yield from artifacts(run_id, entry.path)
        else:
            yield entry.path


def runs(registry: Registry) -> dict[str, Any]:
    return {run.info.run_name: run for run in registry._search_runs("")}


def test_the_baseline_is_registered_once_with_all_that_belongs_to_it(
    registry: Registry, sample_store: SampleStore, parts: Split, tmp_path: Path
) -> None:
    version = pipeline.train_baseline("dag/1", sample_store, registry)
    (run,) = runs(registry).values()
    assert run.info.status == "FINISHED"
    assert set(artifacts(run.info.run_id)) == {
        "gate_evidence.npz",
        "model_card.md",
        *(
            f"plots/{name}.png"
            for name in (
                "confusion_matrix",
                "class_metrics",
                "learning_curve",
                "feature_importance",
            )
        ),
    }
    assert {"accuracy", "macro_f1", "recall_krummholz", "onnx_load_memory_bytes"} <= set(
        run.data.metrics
    )
    assert run.data.params["n_estimators"] == "5"
    for tag, value in {
        "mlflow.source.git.commit": "c0ffee",
        "lock_sha256": "10c4",
        "pipeline_run": "tests",
        "data_rows": "3000",
    }.items():
        assert run.data.tags[tag] == value
    assert len(run.data.tags["data_sha256"]) == 64
    assert sum(json.loads(run.data.tags["data_rows_per_batch"]).values()) == 3000
    assert "version_scikit-learn" in run.data.tags

    # What is registered is what was tested, in one file.
    name = registry.tracking.model_name
    folder = Path(
        mlflow.artifacts.download_artifacts(f"models:/{name}/{version}", dst_path=str(tmp_path))
    )
    content = (folder / "model.onnx").read_bytes()
    metadata: dict[str, Any] = mlflow.models.Model.load(str(folder)).metadata or {}
    assert metadata["feature_schema"] == feature_schema(hashlib.sha256(content).hexdigest())
    assert sorted(path.name for path in folder.glob("*.onnx*")) == ["model.onnx"]
    fetched = registry.fetch(version)
    assert fetched.content == content
    assert fetched.evidence is not None
    assert np.array_equal(fetched.evidence.fitted, np.sort(parts.fit.hashes))

    # A retry keeps the version; another run of the DAG makes another.
    assert pipeline.train_baseline("dag/1", sample_store, registry) == version
    assert [one.number for one in registry.versions()] == [version]
    card = registry._client.get_model_version(name, str(version)).description
    assert card is not None
    assert card.startswith("# Forest cover type: extra trees")
    assert "| Krummholz |" in card


def test_a_try_that_dies_after_registering_leaves_one_version(
    registry: Registry, sample_store: SampleStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as dying:

        def die(*_: object) -> None:
            raise KeyboardInterrupt

        dying.setattr(registry, "tag", die)
        with pytest.raises(KeyboardInterrupt):
            pipeline.train_baseline("dag/1", sample_store, registry)
    version = pipeline.train_baseline("dag/1", sample_store, registry)
    assert [one.number for one in registry.versions()] == [version]
    assert {run.info.status for run in runs(registry).values()} == {"FINISHED"}


def test_a_candidate_has_one_nested_run_whatever_dies(
    registry: Registry, sample_store: SampleStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampled = pipeline.start_search("dag/1", sample_store, registry)
    assert pipeline.start_search("dag/1", sample_store, registry) == sampled
    with monkeypatch.context() as dying:

        def die(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        dying.setattr(scoring, "cross_validated", die)
        with pytest.raises(KeyboardInterrupt):
            scoring.score_candidate(WORSE, False, "dag/1", sample_store, registry)
    first = scoring.score_candidate(WORSE, False, "dag/1", sample_store, registry)
    second = scoring.score_candidate(WORSE, True, "dag/1", sample_store, registry)
    assert second.accuracy > first.accuracy > 0.5
    found = runs(registry)
    assert set(found) == {"search", "worse"}
    assert len(registry._search_runs("")) == 2
    nested = found["worse"]
    assert nested.info.status == "FINISHED"
    assert nested.data.tags["mlflow.parentRunId"] == found["search"].info.run_id
    metrics = nested.data.metrics
    assert metrics["cv_macro_f1"] == pytest.approx(second.macro_f1)
    assert {"fit_seconds", "onnx_model_bytes", "onnx_row_microseconds"} <= set(metrics)
    steps = registry._client.get_metric_history(nested.info.run_id, "cv_accuracy")
    assert {one.step: one.value for one in steps} == pytest.approx(
        {0: first.accuracy, 1: second.accuracy}
    )


def test_the_best_that_can_be_served_is_registered(
    registry: Registry, sample_store: SampleStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "BUDGET", ServingBudget(model_bytes=1_000_000))
    pipeline.start_search("dag/1", sample_store, registry)
    final = [score(WORSE, 0.7), score(GOOD, 0.8), score(replace(GOOD, name="out"), 0.9, "large")]
    version = pipeline.register_best(final, final, "dag/1", sample_store, registry)
    (found,) = registry.versions()
    assert (found.number, found.tags["candidate"]) == (version, "worse")
    parent = runs(registry)["search"]
    assert parent.info.status == "FINISHED"
    assert "plots/front.png" in set(artifacts(parent.info.run_id))
    assert pipeline.register_best(final, final, "dag/1", sample_store, registry) == version
    assert len(registry.versions()) == 1


def test_a_search_that_comes_to_nothing_is_failed_with_its_runs(
    registry: Registry, sample_store: SampleStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not pipeline.fail_search("dag/1", registry)
    pipeline.start_search("dag/1", sample_store, registry)
    registry.open_run("dag/1/search/worse", "worse", parent_key="dag/1/search")
    monkeypatch.setattr(export_module, "BUDGET", ServingBudget(model_bytes=1000))
    refused = scoring.score_candidate(GOOD, False, "dag/1", sample_store, registry)
    assert "Its file is" in refused.refusal
    final = [score(WORSE, 0.7)]
    with pytest.raises(PipelineError, match=r"None of the candidates can be served\. worse: Its"):
        pipeline.register_best(final, final, "dag/1", sample_store, registry)
    assert pipeline.fail_search("dag/1", registry)
    found = runs(registry)
    assert {name: run.info.status for name, run in found.items()} == {
        "search": "FAILED",
        "worse": "FAILED",
        "good": "FINISHED",
    }
    assert "Its file is" in found["good"].data.tags["refused"]
    assert registry.versions() == []


def test_a_version_without_evidence_is_fetched_without(
    registry: Registry, good: ExportedModel
) -> None:
    with registry.run("dag/1", "a run") as run_id:
        bare = registry.register(good, run_id, {}, "")
    with registry.run("dag/2", "a run") as run_id:
        registry.log_files({evidence.FILE_NAME: b"no evidence"})
        spoilt = registry.register(good, run_id, {}, "")
    assert registry.fetch(bare).evidence is None
    assert registry.fetch(spoilt).evidence is None


def test_a_server_that_is_not_there_or_refuses_is_named(
    mlflow_server: Tracking, registry: Registry
) -> None:
    provenance = registry._provenance
    Registry(mlflow_server, provenance).check()
    absent = replace(mlflow_server, uri=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(PipelineError, match=rf"MLflow at {absent.uri}.*connection mlflow"):
        Registry(absent, provenance).check()
    with pytest.raises(PipelineError, match="refused or did not answer"):
        Registry(replace(mlflow_server, password="wrong"), provenance).check()
    assert "wrong" not in repr(replace(mlflow_server, password="wrong"))


def test_a_search_that_was_removed_is_named(registry: Registry) -> None:
    with pytest.raises(PipelineError, match="somebody removed it"):
        registry.open_run("dag/1/search/one", "one", parent_key="dag/1/search")


def test_all_plots_are_pictures(parts: Split, good: ExportedModel) -> None:
    scores = [
        score(GOOD, 0.8),
        replace(score(WORSE, 0.7), row_microseconds=9.0),
        score(replace(GOOD, name="out"), 0.9, "large"),
    ]
    drawn = plots.draw(GOOD, parts.test.labels, good.predicted, INSIGHT, scores)
    assert len(drawn) == 5
    for content in drawn.values():
        assert content.startswith(b"\x89PNG")
        assert len(content) > 10_000
    assert plots._undominated(scores) == [scores[1], scores[0]]


def test_insight_shows_how_a_model_learns_and_what_it_looks_at(
    parts: Split, good: ExportedModel
) -> None:
    insight = examine(GOOD, good, parts)
    assert insight.learning[-1].rows == len(parts.fit)
    assert insight.learning[0].accuracy < insight.learning[-1].accuracy
    assert max(insight.importance, key=insight.importance.__getitem__) == "Elevation"
    assert examine(GOOD, good, parts) == insight
