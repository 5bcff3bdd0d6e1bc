from pathlib import Path

import pytest

from inference_api.cache import Cache, Snapshot
from inference_api.model import Identity, ModelRefusedError
from inference_api.registry import ArtifactError, ModelVersion, RegisteredModel, Registry
from tests.fake_mlflow import FakeMlflow
from tests.graphs import files, tree

FIRST = Identity("modelo1", "1", 1)
SECOND = Identity("modelo1", "2", 2)


@pytest.fixture
def registry(mlflow: FakeMlflow) -> Registry:
    mlflow.publish(files())
    mlflow.publish(files())
    return Registry(mlflow.uri, "", "", "production")


def everything_in(directory: Path) -> set[str]:
    return {path.name for path in directory.rglob("*") if path.is_file()}


def test_a_version_is_fetched_once(mlflow: FakeMlflow, registry: Registry, tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    directory = cache.fetch(registry, FIRST)
    assert everything_in(directory) == {"MLmodel", "model.onnx"}
    mlflow.calls.clear()
    assert Cache(tmp_path).fetch(registry, FIRST) == directory
    assert mlflow.calls == []


def test_a_refused_version_leaves_nothing(mlflow: FakeMlflow, tmp_path: Path) -> None:
    mlflow.publish({**files(), "model.onnx": tree(threshold=7)})
    with pytest.raises(ModelRefusedError, match="digest"):
        Cache(tmp_path).fetch(Registry(mlflow.uri, "", "", "production"), FIRST)
    assert everything_in(tmp_path) == set()


def test_a_version_without_a_graph_leaves_nothing(mlflow: FakeMlflow, tmp_path: Path) -> None:
    mlflow.publish({"MLmodel": files()["MLmodel"]})
    with pytest.raises(ArtifactError):
        Cache(tmp_path).fetch(Registry(mlflow.uri, "", "", "production"), FIRST)
    assert everything_in(tmp_path) == set()


def test_the_same_number_of_another_time_is_another_version(
    registry: Registry, tmp_path: Path
) -> None:
    cache = Cache(tmp_path)
    cache.fetch(registry, FIRST)
    assert not cache.has(FIRST._replace(created_ms=99))


@pytest.mark.parametrize("name", ["../../etc", "x" * 250, "ñ" * 250, "."])
def test_any_name_has_a_folder_inside(mlflow: FakeMlflow, tmp_path: Path, name: str) -> None:
    mlflow.publish(files(), name=name.replace("/", "_"))
    cache = Cache(tmp_path)
    identity = Identity(name.replace("/", "_"), "1", 1)
    directory = cache.fetch(Registry(mlflow.uri, "", "", "production"), identity)
    assert directory.parent == tmp_path / "models"
    assert cache.has(identity)


def test_pruning_keeps_what_it_is_told(registry: Registry, tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.fetch(registry, FIRST)
    cache.fetch(registry, SECOND)
    cache.prune({SECOND})
    assert (cache.has(FIRST), cache.has(SECOND)) == (False, True)


def test_what_was_known_is_read_back(tmp_path: Path) -> None:
    version = ModelVersion("1", 1, "run")
    model = RegisteredModel(5, "1", {"1": version}, {"accuracy": 0.9})
    snapshot = Snapshot({"modelo1": model}, {"modelo1": FIRST})
    Cache(tmp_path).write_snapshot(snapshot)
    assert Cache(tmp_path).read_snapshot() == snapshot


@pytest.mark.parametrize("content", [b"", b"{", b'{"models": 3}', b"\xff", b"[]"])
def test_an_unreadable_state_is_as_good_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "registry.json").write_bytes(content)
    assert Cache(tmp_path).read_snapshot() == Snapshot()


def test_what_a_killed_replica_was_writing_is_removed(registry: Registry, tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.fetch(registry, FIRST)
    cache.write_snapshot(Snapshot())
    whole = everything_in(tmp_path)
    half = tmp_path / "models" / ".part-1"
    half.mkdir()
    (half / "half a graph").write_bytes(b"")
    (tmp_path / ".part-2").write_bytes(b"")
    assert Cache(tmp_path).has(FIRST)
    assert everything_in(tmp_path) == whole
    assert not half.exists()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        Cache(tmp_path / "file" / "cache")
