"""What happens while the registry changes, breaks or is away."""

import gc
import json
import re
import threading
from collections import Counter
from pathlib import Path

import httpx
import pytest
from onnxruntime import InferenceSession  # type: ignore[import-untyped] # it ships no types

from tests.conftest import MakeSettings, Replica, wait_until
from tests.fake_mlflow import FakeMlflow
from tests.graphs import EXAMPLE, files, tree


def failures(replica: Replica, reason: str) -> float:
    return replica.metric(f'inference_model_load_failures_total{{reason="{reason}"}}')


def count_sessions() -> int:
    gc.collect()
    return sum(isinstance(found, InferenceSession) for found in gc.get_objects())


def test_the_first_model_is_taken_up_when_it_appears(
    mlflow: FakeMlflow, make_settings: MakeSettings
) -> None:
    with Replica(make_settings()) as replica:
        live = "/health/live"
        wait_until(
            lambda: replica.client.get(live).json()["registry"] == "reachable", "it is reached"
        )
        assert replica.client.get(live).json()["models"] == []
        assert replica.client.get("/models").json() == {"models": []}
        assert "Row" in replica.client.get("/openapi.json").json()["components"]["schemas"]
        for answer in (replica.predict(EXAMPLE), replica.client.get("/health/ready")):
            assert answer.status_code == 503
            assert "make pipeline" in answer.json()["detail"]
            assert answer.headers["retry-after"] == "5"
        assert replica.predict(EXAMPLE, X_Model="modelo1").status_code == 404

        replica.wait_for_version(mlflow.publish(files()))
        assert replica.predict(EXAMPLE).status_code == 200


def test_a_registry_that_was_never_reached_is_said_so(
    mlflow: FakeMlflow, make_settings: MakeSettings
) -> None:
    mlflow.stop()
    with Replica(make_settings()) as replica:
        answer = replica.predict(EXAMPLE)
        assert answer.status_code == 503
        assert "registry has not been reached" in answer.json()["detail"]
        assert replica.client.get("/health/live").json()["registry"] == "unreachable"
        mlflow.publish(files())
        mlflow.start()
        replica.wait_for_version("1")


def test_no_prediction_fails_while_the_model_changes(replica: Replica, mlflow: FakeMlflow) -> None:
    """Eight clients predict all the time; each answer fits the version that it names."""
    stop = threading.Event()
    seen: Counter[str] = Counter()
    wrong: list[object] = []
    low = {**EXAMPLE, "height": 50}

    def predict() -> None:
        with httpx.Client(base_url=replica.url, timeout=20) as client:
            while not stop.is_set():
                answer = client.post("/predict", json=[low] * 3)
                if answer.status_code != 200:
                    wrong.append(answer.text)
                    return
                version = answer.json()["model"]["version"]
                numbers = {one["class_number"] for one in answer.json()["predictions"]}
                # Odd versions have the threshold 100, even ones 1.
                if numbers != ({0} if int(version) % 2 else {1}):
                    wrong.append(answer.json())
                seen[version] += 1

    threads = [threading.Thread(target=predict) for _ in range(8)]
    for thread in threads:
        thread.start()
    wait_until(lambda: seen["1"] or wrong, "version 1 is asked")
    for number in range(2, 8):
        version = mlflow.publish(files(tree(threshold=100 if number % 2 else 1)))
        wait_until(lambda version=version: seen[version] or wrong, f"version {version} answers")
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert {"1", "7"} <= set(seen)
    assert replica.metric("inference_model_loads_total") == 7
    info = 'inference_model_info{default="true",name="modelo1",version="%s"}'
    assert (replica.metric(info % 7), replica.metric(info % 6)) == (1, 0)


BROKEN = {
    "sha256": {**files(), "model.onnx": tree(threshold=5)},
    "onnx": files(b"no graph"),
    "signature": files(tree(width=4)),
    "schema": {**files(), "MLmodel": b"metadata: {}"},
    "warm_up": files(tree(numbers=(0, 1, 9), threshold=-1)),
    "artifact": {"MLmodel": files()["MLmodel"]},
}


@pytest.mark.parametrize("reason", list(BROKEN))
def test_a_broken_version_is_refused_and_the_old_one_goes_on(
    replica: Replica, mlflow: FakeMlflow, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    sessions = count_sessions()
    mlflow.publish(BROKEN[reason])
    wait_until(lambda: failures(replica, reason) == 1, "it is refused")
    assert replica.version() == "1"
    assert replica.predict(EXAMPLE).json()["model"]["version"] == "1"
    wait_until(lambda: "a model was refused" in caplog.text, "it is logged")
    # The refused one is not kept in memory (those of earlier tests may leave it meanwhile).
    assert count_sessions() <= sessions
    replica.wait_for_version(mlflow.publish(files()))
    assert failures(replica, reason) == 1


def test_a_first_version_that_is_broken_is_said_so(
    mlflow: FakeMlflow, make_settings: MakeSettings
) -> None:
    mlflow.publish(BROKEN["sha256"])
    with Replica(make_settings()) as replica:
        wait_until(lambda: failures(replica, "sha256") == 1, "it is refused")
        answer = replica.predict(EXAMPLE)
        assert answer.status_code == 503
        assert "Version 1 of model 'modelo1' cannot be served" in answer.json()["detail"]


def test_a_download_that_breaks_off_is_tried_again(replica: Replica, mlflow: FakeMlflow) -> None:
    mlflow.truncate_artifacts = True
    version = mlflow.publish(files())
    wait_until(lambda: failures(replica, "registry") >= 2, "it is tried again")
    assert replica.version() == "1"
    mlflow.truncate_artifacts = False
    replica.wait_for_version(version)


def test_serving_goes_on_without_the_registry_also_after_a_restart(
    mlflow: FakeMlflow, make_settings: MakeSettings
) -> None:
    mlflow.publish(files(), metrics={"accuracy": 0.8})
    with Replica(make_settings()) as replica:
        replica.wait_for_version("1")
        models = replica.client.get("/models").json()
        mlflow.stop()
        wait_until(
            lambda: replica.metric("inference_registry_reachable") == 0, "the failure is seen"
        )
        assert replica.predict(EXAMPLE).status_code == 200
    with Replica(make_settings()) as replica:
        replica.wait_for_version("1")
        assert replica.predict(EXAMPLE).json()["model"]["version"] == "1"
        assert replica.client.get("/models").json() == models
        assert replica.client.get("/health/live").json()["registry"] == "unreachable"
        mlflow.publish(files())
        mlflow.start()
        replica.wait_for_version("2")


def test_the_last_good_version_is_served_after_a_restart_too(
    mlflow: FakeMlflow, make_settings: MakeSettings
) -> None:
    mlflow.publish(files())
    with Replica(make_settings()) as replica:
        replica.wait_for_version("1")
    mlflow.publish(BROKEN["onnx"])
    with Replica(make_settings()) as replica:
        replica.wait_for_version("1")
        assert failures(replica, "onnx") == 1


def test_a_damaged_local_copy_is_fetched_again(
    mlflow: FakeMlflow, make_settings: MakeSettings, tmp_path: Path
) -> None:
    mlflow.publish(files())
    with Replica(make_settings()) as replica:
        replica.wait_for_version("1")
    (graph,) = (tmp_path / "cache").rglob("model.onnx")
    graph.write_bytes(b"damaged")
    with Replica(make_settings()) as replica:
        replica.wait_for_version("1")
    assert graph.read_bytes() == files()["model.onnx"]


def test_a_damaged_local_copy_is_not_served(
    mlflow: FakeMlflow, make_settings: MakeSettings, tmp_path: Path
) -> None:
    mlflow.publish(files())
    with Replica(make_settings()) as replica:
        replica.wait_for_version("1")
    mlflow.stop()
    (graph,) = (tmp_path / "cache").rglob("model.onnx")
    graph.write_bytes(tree(threshold=5))
    with Replica(make_settings()) as replica:
        wait_until(lambda: failures(replica, "registry") > 0, "it is looked at")
        assert replica.predict(EXAMPLE).status_code == 503


def test_an_emptied_registry_does_not_end_the_service(replica: Replica, mlflow: FakeMlflow) -> None:
    mlflow.clear()
    wait_until(lambda: replica.client.get("/models").json() == {"models": []}, "it is seen")
    assert replica.predict(EXAMPLE).json()["model"]["version"] == "1"


def test_a_model_registered_anew_is_another_model(replica: Replica, mlflow: FakeMlflow) -> None:
    low = {**EXAMPLE, "height": 50}
    assert replica.predict(low).json()["predictions"][0]["class_number"] == 0
    mlflow.clear()
    assert mlflow.publish(files(tree(threshold=1))) == "1"
    wait_until(
        lambda: replica.predict(low).json()["predictions"][0]["class_number"] == 1,
        "the new version 1 answers",
    )
    answer = replica.predict(low, X_Model="modelo1/1").json()
    assert answer["predictions"][0]["class_number"] == 1


def loaded(replica: Replica) -> set[str]:
    """Return the versions in memory."""
    metrics = replica.client.get("/metrics").text
    return set(re.findall(r'inference_model_info\{.*version="(\d+)"\} 1', metrics))


def test_a_version_that_stands_by_is_loaded_aside_and_the_change_needs_no_load(
    replica: Replica, mlflow: FakeMlflow
) -> None:
    candidate = mlflow.publish(files(), alias="candidate")
    wait_until(lambda: loaded(replica) == {"1", candidate}, "the candidate stands by")
    assert replica.version() == "1"
    aliases = mlflow.models["modelo1"].aliases
    mlflow.truncate_artifacts = True  # nothing can be loaded from here on
    aliases.update(production=candidate, previous="1")
    replica.wait_for_version(candidate)
    aliases.update(production="1")
    replica.wait_for_version("1")
    assert failures(replica, "registry") == 0


def test_nobody_is_answered_before_what_stands_by_is_loaded(
    mlflow: FakeMlflow, make_settings: MakeSettings
) -> None:
    versions = {mlflow.publish(files()), mlflow.publish(files(), alias="candidate")}
    mlflow.artifact_delay = 0.2
    with Replica(make_settings()) as replica:
        assert loaded(replica) == versions


def test_a_first_look_that_takes_long_does_not_keep_a_replica_from_answering(
    mlflow: FakeMlflow, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference_api.store._FIRST_LOOK_SECONDS", 0.1)
    mlflow.publish(files())
    mlflow.artifact_delay = 1.0
    with Replica(make_settings()) as replica:
        answer = replica.predict(EXAMPLE)
        assert answer.status_code == 503
        assert "is being loaded" in answer.json()["detail"]
        replica.wait_for_version("1")


def test_a_promotion_frees_nothing_between_its_two_aliases(
    replica: Replica, mlflow: FakeMlflow
) -> None:
    candidate = mlflow.publish(files(), alias="candidate")
    wait_until(lambda: loaded(replica) == {"1", candidate}, "the candidate stands by")
    aliases = mlflow.models["modelo1"].aliases
    loads = replica.metric("inference_model_loads_total")
    aliases.update(production=candidate)
    # A poll finds the first alias changed, the next one finds the second changed too.
    mlflow.after_search = lambda: aliases.setdefault("previous", "1")
    replica.wait_for_version(candidate)
    aliases.update(production="1", previous=candidate)
    replica.wait_for_version("1")
    assert replica.metric("inference_model_loads_total") == loads


def test_a_version_that_no_longer_stands_by_is_freed(replica: Replica, mlflow: FakeMlflow) -> None:
    candidate = mlflow.publish(files(), alias="candidate")
    wait_until(lambda: candidate in loaded(replica), "the candidate stands by")
    del mlflow.models["modelo1"].aliases["candidate"]
    wait_until(lambda: loaded(replica) == {"1"}, "it is freed")


def test_a_broken_candidate_is_refused_before_its_promotion(
    replica: Replica, mlflow: FakeMlflow
) -> None:
    mlflow.publish(BROKEN["onnx"], alias="candidate")
    wait_until(lambda: failures(replica, "onnx") == 1, "it is refused")
    assert loaded(replica) == {"1"}


def test_versions_that_stand_by_leave_room_for_a_selected_one(
    mlflow: FakeMlflow, make_settings: MakeSettings
) -> None:
    for alias in ("previous", "candidate", None, "production"):
        mlflow.publish(files(), alias=alias)
    with Replica(make_settings(max_loaded_models=3)) as replica:
        replica.wait_for_version("4")
        wait_until(lambda: len(loaded(replica)) == 2, "one stands by")
        assert replica.predict(EXAMPLE, X_Model="modelo1/3").status_code == 200
        assert len(loaded(replica)) == 3
        assert {"3", "4"} <= loaded(replica)


def test_old_versions_leave_the_local_copy(
    replica: Replica, mlflow: FakeMlflow, tmp_path: Path
) -> None:
    for _ in range(3):
        replica.wait_for_version(mlflow.publish(files()))
    models = tmp_path / "cache" / "models"
    wait_until(lambda: len(list(models.iterdir())) == 1, "only one is kept")


def test_the_saved_state_holds_no_secret(
    mlflow: FakeMlflow, make_settings: MakeSettings, tmp_path: Path
) -> None:
    mlflow.credentials = ("reader", "hush-hush")
    mlflow.publish(files())
    settings = make_settings(
        mlflow_tracking_username="reader", mlflow_tracking_password="hush-hush"
    )
    with Replica(settings) as replica:
        replica.wait_for_version("1")
    saved = (tmp_path / "cache" / "registry.json").read_text()
    assert "modelo1" in json.loads(saved)["models"]
    assert "hush-hush" not in saved
