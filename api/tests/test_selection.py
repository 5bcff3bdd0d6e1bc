"""Each client has its own model, whichever replica answers."""

import time
from pathlib import Path

import httpx
import pytest

from tests.conftest import MakeSettings, Replica, wait_until
from tests.fake_mlflow import FakeMlflow
from tests.graphs import EXAMPLE, files, tree


def select(client: httpx.Client, name: str, version: str | int | None = None) -> httpx.Response:
    body = {"model_name": name} if version is None else {"model_name": name, "version": version}
    return client.post("/select-model", json=body)


def answered_by(answer: httpx.Response) -> tuple[str, str]:
    assert answer.status_code == 200, answer.text
    model = answer.json()["model"]
    return model["name"], model["version"]


@pytest.fixture
def models(mlflow: FakeMlflow, replica: Replica) -> None:
    """More models: version 2 of modelo1 in production, and another model."""
    mlflow.publish(files(tree(threshold=1)), name="otro modelo")
    replica.wait_for_version(mlflow.publish(files(tree(threshold=1))))


@pytest.mark.usefixtures("models")
def test_a_selection_is_the_clients_own(replica: Replica) -> None:
    with (
        httpx.Client(base_url=replica.url, timeout=20) as one,
        httpx.Client(base_url=replica.url, timeout=20) as two,
        httpx.Client(base_url=replica.url, timeout=20) as three,
    ):
        assert select(one, "otro modelo").status_code == 200
        assert select(two, "modelo1", 1).status_code == 200
        for _ in range(3):
            assert answered_by(one.post("/predict", json=EXAMPLE)) == ("otro modelo", "1")
            assert answered_by(two.post("/predict", json=EXAMPLE)) == ("modelo1", "1")
            assert answered_by(three.post("/predict", json=EXAMPLE)) == ("modelo1", "2")


@pytest.mark.usefixtures("models")
def test_the_answer_says_what_was_selected(replica: Replica) -> None:
    answer = select(replica.client, "otro modelo", "1")
    assert answer.json() == {
        "model": {"name": "otro modelo", "version": "1"},
        "value": "otro%20modelo/1",
        "cookie": "model",
        "header": "X-Model",
    }
    cookie = answer.headers["set-cookie"]
    assert cookie == "model=otro%20modelo/1; HttpOnly; Path=/; SameSite=Lax"
    assert select(replica.client, "modelo1").json()["model"]["version"] == "2"


@pytest.mark.usefixtures("models")
def test_another_replica_honours_the_selection(
    replica: Replica, make_settings: MakeSettings, tmp_path: Path
) -> None:
    value = select(replica.client, "modelo1", "1").json()["value"]
    with Replica(make_settings(cache_dir=tmp_path / "other")) as other:
        other.wait_for_version("2")
        assert answered_by(other.predict(EXAMPLE, Cookie=f"model={value}")) == ("modelo1", "1")
        assert answered_by(other.predict(EXAMPLE, X_Model=value)) == ("modelo1", "1")
        assert answered_by(other.predict(EXAMPLE)) == ("modelo1", "2")


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(
    "cookie", ["model=modelo1/1", 'a=b; model="modelo1/1"; c', "model=modelo1/1; model=x"]
)
def test_cookies_are_read_in_every_spelling(replica: Replica, cookie: str) -> None:
    assert answered_by(replica.predict(EXAMPLE, Cookie=cookie)) == ("modelo1", "1")


@pytest.mark.usefixtures("models")
def test_the_header_goes_before_the_cookie(replica: Replica) -> None:
    answer = replica.predict(EXAMPLE, Cookie="model=modelo1/1", X_Model="otro modelo")
    assert answered_by(answer) == ("otro modelo", "1")


def test_an_empty_selection_is_none(steady: Replica) -> None:
    answer = steady.predict(EXAMPLE, Cookie="model=; supermodel=x", X_Model="")
    assert answered_by(answer) == ("modelo1", "1")


@pytest.mark.parametrize(
    ("name", "version"), [("nobody", None), ("modelo1", "99"), ("modelo1", "x"), ("modelo1", 0)]
)
def test_an_unknown_selection_is_404(steady: Replica, name: str, version: str | int | None) -> None:
    answer = select(steady.client, name, version)
    assert answer.status_code == 404
    assert "set-cookie" not in answer.headers
    assert "Known: " in answer.json()["detail"]
    value = name if version is None else f"{name}/{version}"
    assert steady.predict(EXAMPLE, X_Model=value).status_code == 404
    assert steady.predict(EXAMPLE, Cookie=f"model={value}").status_code == 404


def test_a_404_lists_the_newest_versions(mlflow: FakeMlflow, replica: Replica) -> None:
    for _ in range(11):
        version = mlflow.publish(files())
    replica.wait_for_version(version)
    detail = select(replica.client, "modelo1", 99).json()["detail"]
    assert detail.endswith("Known: ..., '3', '4', '5', '6', '7', '8', '9', '10', '11', '12'.")


@pytest.mark.parametrize("value", ["/", "/1", "modelo1/1/1", "%", "%ff", "\xff\xfe", "a" * 5000])
def test_a_selection_that_none_could_make_is_404(steady: Replica, value: str) -> None:
    raw = value.encode("latin-1")
    for header in ("x-model", "cookie"):
        content = b"model=" + raw if header == "cookie" else raw
        answer = steady.client.post(
            "/predict", json=EXAMPLE, headers=httpx.Headers([(header.encode(), content)])
        )
        assert answer.status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"model_name": ""},
        {"model_name": 1},
        {"model_name": None},
        {"model_name": "modelo1", "version": True},
        {"model_name": "modelo1", "version": 1.5},
        {"model_name": "modelo1", "more": 1},
        [],
        None,
    ],
)
def test_a_wrong_selection_names_what_is_wrong(steady: Replica, body: object) -> None:
    answer = steady.client.post("/select-model", json=body)
    assert answer.status_code == 422
    assert all(set(one) == {"loc", "msg", "type"} for one in answer.json()["detail"])


def test_a_selection_by_name_follows_production(replica: Replica, mlflow: FakeMlflow) -> None:
    mlflow.publish(files(), name="other")
    wait_until(lambda: len(replica.client.get("/models").json()["models"]) == 2, "it is known")
    assert answered_by(replica.predict(EXAMPLE, X_Model="other")) == ("other", "1")
    mlflow.publish(files(tree(threshold=1)), name="other")
    wait_until(
        lambda: answered_by(replica.predict(EXAMPLE, X_Model="other")) == ("other", "2"),
        "the new version answers",
    )


def test_the_least_recently_used_version_goes_first(
    mlflow: FakeMlflow, make_settings: MakeSettings
) -> None:
    for _ in range(4):
        mlflow.publish(files())
    with Replica(make_settings(max_loaded_models=3)) as replica:
        replica.wait_for_version("4")

        def loaded() -> set[str]:
            lines = replica.client.get("/metrics").text.splitlines()
            found = [line for line in lines if line.startswith("inference_model_info{")]
            return {line.split('version="')[1].split('"')[0] for line in found}

        for version in ("1", "2", "1", "3"):
            answer = replica.predict(EXAMPLE, X_Model=f"modelo1/{version}")
            assert answered_by(answer) == ("modelo1", version)
        assert loaded() == {"4", "1", "3"}
        # The default model is not used at all meanwhile, and stays all the same.
        answered_by(replica.predict(EXAMPLE, X_Model="modelo1/2"))
        assert loaded() == {"4", "3", "2"}
        assert answered_by(replica.predict(EXAMPLE)) == ("modelo1", "4")


def test_a_version_that_is_slow_to_load_is_answered_with_503(
    mlflow: FakeMlflow, make_settings: MakeSettings
) -> None:
    mlflow.publish(files())
    mlflow.publish(files(), name="slow")
    with Replica(make_settings(load_wait_seconds=0.2)) as other:
        other.wait_for_version("1")
        mlflow.artifact_delay = 1.0
        started = time.monotonic()
        answer = other.predict(EXAMPLE, X_Model="slow")
        assert time.monotonic() - started < 0.9
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        assert "still being loaded" in answer.json()["detail"]
        # The others do not wait for it, and it comes.
        assert answered_by(other.predict(EXAMPLE)) == ("modelo1", "1")
        wait_until(
            lambda: other.predict(EXAMPLE, X_Model="slow").status_code == 200, "it is loaded"
        )


def test_a_selected_version_that_is_broken_is_answered_with_503(
    replica: Replica, mlflow: FakeMlflow
) -> None:
    mlflow.publish({**files(), "model.onnx": tree(threshold=5)}, name="broken")
    wait_until(lambda: len(replica.client.get("/models").json()["models"]) == 2, "it is known")
    for _ in range(2):
        answer = replica.predict(EXAMPLE, X_Model="broken")
        assert answer.status_code == 503
        assert "digest" in answer.json()["detail"]
    failures = 'inference_model_load_failures_total{reason="sha256"}'
    assert replica.metric(failures) == 1  # it is not tried again at once
