from pathlib import Path

import pytest

from inference_api.registry import ArtifactError, Registry, RegistryError
from tests.fake_mlflow import FakeMlflow
from tests.graphs import files

SEARCH = "/api/2.0/mlflow/registered-models/search"


@pytest.fixture
def registry(mlflow: FakeMlflow) -> Registry:
    return Registry(mlflow.uri + "/", "", "", "production", ["candidate", "previous"])


def test_only_models_in_production_are_known(mlflow: FakeMlflow, registry: Registry) -> None:
    mlflow.publish(files(), metrics={"accuracy": 0.9, "loss": "NaN", "top": "Infinity"})
    mlflow.publish(files(), alias=None)
    mlflow.publish(files(), name="candidate", alias="challenger")
    state = registry.poll({})
    assert list(state) == ["modelo1"]
    assert state["modelo1"].production == "1"
    assert list(state["modelo1"].versions) == ["1", "2"]
    assert state["modelo1"].metrics == {"accuracy": 0.9}


def test_an_empty_registry_has_no_models(registry: Registry) -> None:
    assert registry.poll({}) == {}


def test_a_poll_without_news_is_one_call(mlflow: FakeMlflow, registry: Registry) -> None:
    mlflow.publish(files())
    state = registry.poll({})
    mlflow.calls.clear()
    assert registry.poll(state) == state
    assert mlflow.calls == [SEARCH]


def test_a_moved_alias_is_seen(mlflow: FakeMlflow, registry: Registry) -> None:
    mlflow.publish(files(), metrics={"accuracy": 0.8})
    mlflow.publish(files(), metrics={"accuracy": 0.9})
    state = registry.poll({})
    mlflow.models["modelo1"].aliases["production"] = "1"
    moved = registry.poll(state)
    assert moved["modelo1"].production == "1"
    assert moved["modelo1"].metrics == {"accuracy": 0.8}


def test_versions_that_stand_by_are_known(mlflow: FakeMlflow, registry: Registry) -> None:
    for alias in ("previous", "candidate", "other", "production"):
        mlflow.publish(files(), alias=alias)
    assert registry.poll({})["modelo1"].standby == ("1", "2")
    mlflow.models["modelo1"].aliases.update(previous="4", candidate="9")
    assert registry.poll({})["modelo1"].standby == ()


def test_all_pages_are_read(mlflow: FakeMlflow, registry: Registry) -> None:
    mlflow.page_size = 2
    for number in range(5):
        mlflow.publish(files(), name=f"model {number}")
        mlflow.publish(files(), name="many")
    state = registry.poll({})
    assert len(state) == 6
    assert len(state["many"].versions) == 5


@pytest.mark.parametrize("name", ["it's", 'a "name"', "ñandú", "a&b=c", "100 %"])
def test_names_of_any_kind_work(
    mlflow: FakeMlflow, registry: Registry, name: str, tmp_path: Path
) -> None:
    mlflow.publish(files(), name=name)
    assert registry.poll({})[name].production == "1"
    registry.download(registry.artifact_base(name, "1"), "model.onnx", tmp_path / "graph")
    assert (tmp_path / "graph").read_bytes() == files()["model.onnx"]


def test_a_name_that_no_filter_can_spell_is_left_out(
    mlflow: FakeMlflow, registry: Registry
) -> None:
    mlflow.publish(files(), name="""'both' "kinds" """)
    mlflow.publish(files())
    assert list(registry.poll({})) == ["modelo1"]


def test_credentials_are_sent(mlflow: FakeMlflow) -> None:
    mlflow.credentials = ("reader", "señal:1")
    mlflow.publish(files())
    assert Registry(mlflow.uri, "reader", "señal:1", "production").poll({})


def test_wrong_credentials_are_said_so(mlflow: FakeMlflow, registry: Registry) -> None:
    mlflow.credentials = ("reader", "secret")
    with pytest.raises(RegistryError, match="MLFLOW_TRACKING_PASSWORD"):
        registry.poll({})


def test_a_server_that_is_down_is_said_so(mlflow: FakeMlflow, registry: Registry) -> None:
    mlflow.stop()
    with pytest.raises(RegistryError, match=mlflow.uri):
        registry.poll({})


def test_a_deleted_version_is_said_so(mlflow: FakeMlflow, registry: Registry) -> None:
    with pytest.raises(ArtifactError, match="no longer has it"):
        registry.artifact_base("modelo1", "1")


def test_metrics_of_a_deleted_run_are_empty(mlflow: FakeMlflow, registry: Registry) -> None:
    mlflow.publish(files(), metrics={"accuracy": 0.9})
    mlflow.deleted_runs.add("modelo1|1")
    assert registry.poll({})["modelo1"].metrics == {}


@pytest.mark.parametrize("scheme", ["s3://bucket/", "file:///", "mlflow-artifacts://other:5000/"])
def test_files_elsewhere_are_refused(mlflow: FakeMlflow, registry: Registry, scheme: str) -> None:
    mlflow.publish(files())
    mlflow.artifact_scheme = scheme
    with pytest.raises(ArtifactError, match="--artifacts-destination"):
        registry.artifact_base("modelo1", "1")


def test_a_missing_file_is_said_so(mlflow: FakeMlflow, registry: Registry, tmp_path: Path) -> None:
    mlflow.publish(files())
    with pytest.raises(ArtifactError, match=r"weights\.bin"):
        registry.download(registry.artifact_base("modelo1", "1"), "weights.bin", tmp_path / "x")


def test_a_download_that_breaks_off_is_no_file(
    mlflow: FakeMlflow, registry: Registry, tmp_path: Path
) -> None:
    mlflow.publish(files())
    mlflow.truncate_artifacts = True
    with pytest.raises(RegistryError, match=r"model\.onnx"):
        registry.download(registry.artifact_base("modelo1", "1"), "model.onnx", tmp_path / "x")
