"""Code tests of registering and promoting, on a real MLflow server."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest

from conftest import free_port
from covertype import pipeline
from covertype.candidates import Candidate
from covertype.dataset import Rows, split
from covertype.errors import PipelineError
from covertype.export import export, feature_schema
from covertype.promotion import decide, promote_best
from covertype.registry import Registry, Tracking
from covertype.store import CovertypeStore
from covertype.training import fit

GOOD = Candidate("good", "extra_trees", {"n_estimators": 10, "max_features": 0.6})
POOR = Candidate("poor", "extra_trees", {"n_estimators": 3, "max_depth": 3})


class SampleStore(CovertypeStore):
    """Reads the sample instead of a table."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    def read(self) -> pd.DataFrame:
        return self._frame


@pytest.fixture
def sample_store(sample: pd.DataFrame) -> SampleStore:
    return SampleStore(sample)


def register(candidate: Candidate, rows: Rows, registry: Registry) -> int:
    parts = split(rows)
    with registry.run(candidate.name):
        model = export(fit(candidate, parts.fit, threads=2), parts.test.features)
        return registry.register(model, parts.cuts, {"candidate": candidate.name})


def tags(registry: Registry, version: int) -> dict[str, str]:
    name = registry._tracking.model_name
    found: dict[str, str] = registry._client.get_model_version(name, str(version)).tags
    return found


def test_rule_the_first_version_takes_production() -> None:
    decision = decide({1: 0.5, 2: 0.6}, None)
    assert (decision.challenger, decision.promoted) == (2, True)


@pytest.mark.parametrize(("figure", "promoted"), [(0.61, True), (0.6, False), (0.59, False)])
def test_rule_a_challenger_must_be_better(figure: float, promoted: bool) -> None:
    decision = decide({7: figure, 6: 0.1}, (5, 0.6))
    assert (decision.challenger, decision.promoted) == (7, promoted)
    assert "0.6000 of 5" in decision.reason


def test_better_is_promoted_and_worse_is_not(
    registry: Registry, rows: Rows, sample_store: SampleStore
) -> None:
    poor = register(POOR, rows, registry)
    assert registry.production() is None
    assert promote_best([poor], sample_store, registry).promoted
    assert registry.production() == poor

    good = register(GOOD, rows, registry)
    assert promote_best([good], sample_store, registry).promoted
    assert registry.production() == good
    assert tags(registry, good)["promotion"] == "promoted"

    worse = register(POOR, rows, registry)
    decision = promote_best([worse], sample_store, registry)
    assert not decision.promoted
    assert registry.production() == good
    assert tags(registry, worse)["promotion"] == "refused"
    assert "not better" in tags(registry, worse)["promotion_reason"]

    # The task run again: nothing changes.
    assert not promote_best([good], sample_store, registry).promoted
    assert registry.production() == good
    with pytest.raises(PipelineError, match="nothing to promote"):
        promote_best([], sample_store, registry)


def test_what_is_registered_is_what_was_tested(
    registry: Registry, rows: Rows, tmp_path: Path
) -> None:
    version = register(GOOD, rows, registry)
    name = registry._tracking.model_name
    folder = Path(
        mlflow.artifacts.download_artifacts(f"models:/{name}/{version}", dst_path=str(tmp_path))
    )
    content = (folder / "model.onnx").read_bytes()
    metadata: dict[str, Any] = mlflow.models.Model.load(str(folder)).metadata or {}
    assert metadata["feature_schema"] == feature_schema(hashlib.sha256(content).hexdigest())
    served = registry.fetch(version)
    assert served.cuts == split(rows).cuts
    assert len(content) < 45_000_000
    # One file: the inference API fetches no external data.
    assert sorted(path.name for path in folder.glob("*.onnx*")) == ["model.onnx"]


def test_a_production_version_with_other_inputs_is_not_compared(
    registry: Registry, rows: Rows, sample_store: SampleStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = register(POOR, rows, registry)
    fetch = registry.fetch
    monkeypatch.setattr(registry, "fetch", lambda number: replace(fetch(number), inputs=[]))
    with pytest.raises(PipelineError, match="has other inputs"):
        promote_best([version], sample_store, registry)
    assert registry.production() is None


def test_no_common_held_out_rows_is_said(
    registry: Registry, rows: Rows, sample_store: SampleStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = register(POOR, rows, registry)
    fetch = registry.fetch
    nothing = dict.fromkeys(split(rows).cuts, 0)
    monkeypatch.setattr(registry, "fetch", lambda number: replace(fetch(number), cuts=nothing))
    with pytest.raises(PipelineError, match="Only 0 rows were held out"):
        promote_best([version], sample_store, registry)


def test_search_records_nested_runs_and_registers_the_best(
    registry: Registry, sample_store: SampleStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "SEARCH_SPACE", (POOR, GOOD))
    search = registry.open_run("search")
    scores = [
        pipeline.score_candidate(name, search, sample_store, registry) for name in ("poor", "good")
    ]
    version = pipeline.register_best(scores, search, sample_store, registry)
    assert tags(registry, version)["candidate"] == "good"

    client = registry._client
    experiment = client.get_experiment_by_name(registry._tracking.experiment)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    children = {
        run.info.run_name: run for run in runs if run.data.tags.get("mlflow.parentRunId") == search
    }
    assert set(children) == {"poor", "good"}
    good = children["good"].data
    assert good.metrics["validation_macro_f1"] == pytest.approx(scores[1].macro_f1)
    assert good.params["n_estimators"] == "10"
    parent = client.get_run(search)
    assert parent.info.status == "FINISHED"
    assert {"accuracy", "macro_f1", "recall_krummholz", "onnx_bytes"} <= set(parent.data.metrics)
    assert parent.data.params["data_rows"] == "3000"
    assert len(parent.data.params["data_sha256"]) == 64
    assert "version_scikit-learn" in parent.data.params


def test_a_candidate_that_cannot_be_served_is_out(
    registry: Registry, sample_store: SampleStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "SEARCH_SPACE", (GOOD,))
    monkeypatch.setattr("covertype.export.MAX_BYTES", 1000)
    search = registry.open_run("search")
    score = pipeline.score_candidate("good", search, sample_store, registry)
    assert score.macro_f1 < 0
    with pytest.raises(PipelineError, match="None of the candidates can be served"):
        pipeline.register_best([score], search, sample_store, registry)


def test_a_server_that_is_not_there_or_refuses_is_named(mlflow_server: Tracking) -> None:
    Registry(mlflow_server).check()
    absent = replace(mlflow_server, uri=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(PipelineError, match=rf"MLflow at {absent.uri}.*connection mlflow"):
        Registry(absent).check()
    with pytest.raises(PipelineError, match="refused or did not answer"):
        Registry(replace(mlflow_server, password="wrong")).check()
    assert "wrong" not in repr(replace(mlflow_server, password="wrong"))
