"""The HTTP contract, over real connections to one replica."""

import json
import socket
from typing import Any

import httpx
import pytest

from tests.conftest import MakeSettings, Replica
from tests.fake_mlflow import FakeMlflow
from tests.graphs import CLASSES, EXAMPLE, NAMES, PLACES, files

ANSWER: dict[str, Any] = {
    "predictions": [{"class_number": 0, "class_name": "low"}],
    "model": {"name": "modelo1", "version": "1"},
}


def send_raw(replica: Replica, data: bytes) -> bytes:
    """Send bytes as they are and return what comes back until the server closes."""
    host, port = replica.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(data)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
        return received


def test_a_row_and_a_list_of_it_get_the_same_answer(steady: Replica) -> None:
    for body in (EXAMPLE, [EXAMPLE]):
        answer = steady.predict(body)
        assert (answer.status_code, answer.json()) == (200, ANSWER)
        assert answer.headers["content-type"] == "application/json"


def test_the_longest_list_is_answered_and_a_longer_one_is_not(steady: Replica) -> None:
    answer = steady.predict([EXAMPLE] * 1000)
    assert answer.status_code == 200
    assert answer.json()["predictions"] == ANSWER["predictions"] * 1000
    answer = steady.predict([EXAMPLE] * 1001)
    assert answer.status_code == 413
    assert "at most 1000" in answer.json()["detail"]


def test_a_body_needs_no_content_type(steady: Replica) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    for headers in ({}, form):
        answer = steady.client.post("/predict", content=json.dumps(EXAMPLE), headers=headers)
        assert answer.status_code == 200
        answer = steady.client.post(
            "/select-model", content=b'{"model_name": "modelo1"}', headers=headers
        )
        assert answer.status_code == 200


def test_a_body_may_come_in_pieces(steady: Replica) -> None:
    content = json.dumps(EXAMPLE).encode()
    answer = steady.client.post(
        "/predict", content=iter([content[:5], content[5:20], content[20:]])
    )
    assert (answer.status_code, answer.json()) == (200, ANSWER)


def test_everything_that_is_wrong_is_named(steady: Replica) -> None:
    answer = steady.predict([EXAMPLE, {"height": True, "place": "nowhere", "x": 1}])
    assert answer.status_code == 422
    problems = answer.json()["detail"]
    assert [(one["loc"], one["type"]) for one in problems] == [
        (["body", 1, "height"], "float_type"),
        (["body", 1, "slope %"], "missing"),
        (["body", 1, "place"], "enum"),
        (["body", 1, "x"], "extra_forbidden"),
    ]
    assert all(set(one) == {"loc", "msg", "type"} for one in problems)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b'"\\ud800"'])
def test_what_is_no_row_is_422(steady: Replica, content: bytes) -> None:
    answer = steady.client.post("/predict", content=content)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body"]


def test_half_a_surrogate_pair_is_echoed_without_harm(steady: Replica) -> None:
    content = b'{"\\ud800": 1, "height": 1, "slope %": 1, "place": "\\udfff"}'
    answer = steady.client.post("/predict", content=content)
    assert answer.status_code == 422
    assert [one["type"] for one in answer.json()["detail"]] == ["enum", "extra_forbidden"]
    for content in (b'{"model_name": "\\ud800"}', b'{"\\ud800": 1}'):
        assert steady.client.post("/select-model", content=content).status_code in (404, 422)


@pytest.mark.parametrize("path", ["/predict", "/select-model"])
def test_a_body_that_is_too_large_is_413(steady: Replica, path: str) -> None:
    large = b" " * (2 * 1024 * 1024 + 1)
    for content in (large, iter([large[:-1], b" "])):  # with its length, and in chunks
        answer = steady.client.post(path, content=content)
        assert answer.status_code == 413
        assert "2097152 bytes" in answer.json()["detail"]
    assert steady.predict(EXAMPLE).status_code == 200


def test_an_announced_body_that_is_too_large_is_not_waited_for(steady: Replica) -> None:
    head = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n"
    assert send_raw(steady, head + b"connection: close\r\n\r\n").startswith(b"HTTP/1.1 413 ")


def test_a_client_that_leaves_early_does_no_harm(steady: Replica) -> None:
    host, port = steady.url.removeprefix("http://").split(":")
    for _ in range(5):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{")
    assert steady.predict(EXAMPLE).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/predict", 405),
        ("PUT", "/predict", 405),
        ("POST", "/models", 405),
        ("GET", "/select-model", 405),
        ("GET", "/predict/", 404),
        ("GET", "/", 404),
    ],
)
def test_other_ways_in_are_refused(steady: Replica, method: str, path: str, status: int) -> None:
    answer = steady.client.request(method, path)
    assert answer.status_code == status
    assert isinstance(answer.json()["detail"], str)
    if status == 405:
        assert answer.headers["allow"]


def test_every_answer_names_the_replica(steady: Replica) -> None:
    for answer in (
        steady.predict(EXAMPLE),
        steady.predict({}),
        steady.client.get("/models"),
        steady.client.get("/nowhere"),
    ):
        assert answer.headers["x-replica"] == socket.gethostname()


def test_the_models_in_production_are_listed(steady: Replica) -> None:
    answer = steady.client.get("/models").json()
    (model,) = answer["models"]
    assert set(model) == {"name", "version", "created", "metrics"}
    assert (model["name"], model["version"]) == ("modelo1", "1")
    assert model["created"] == "2026-11-24T08:52:26Z"
    assert model["metrics"] == {"accuracy": 0.9}


def test_health_tells_what_is_loaded(steady: Replica) -> None:
    assert steady.client.get("/health/ready").json() == {
        "status": "ready",
        "model": {"name": "modelo1", "version": "1"},
    }
    assert steady.client.get("/health/live").json() == {
        "status": "live",
        "registry": "reachable",
        "models": [{"name": "modelo1", "version": "1", "loaded": True}],
    }


def test_the_document_describes_the_model_in_use(replica: Replica, mlflow: FakeMlflow) -> None:
    document = replica.client.get("/openapi.json").json()
    row = document["components"]["schemas"]["Row"]
    assert list(row["properties"]) == NAMES
    assert row["properties"]["place"]["enum"] == PLACES
    label = document["components"]["schemas"]["Predictions"]["properties"]["predictions"]["items"]
    assert label["properties"]["class_name"]["enum"] == CLASSES
    assert set(document["paths"]["/predict"]["post"]["responses"]) == {
        "200", "404", "413", "422", "503",
    }  # fmt: skip
    assert replica.predict(row["example"]).status_code == 200

    inputs: list[dict[str, Any]] = [
        {"name": "weight", "kind": "number"},
        {"name": "width", "kind": "number"},
        {"name": "colour", "kind": "category", "categories": ["red", "blue"]},
    ]
    replica.wait_for_version(mlflow.publish(files(inputs=inputs)))
    document = replica.client.get("/openapi.json").json()
    row = document["components"]["schemas"]["Row"]
    assert list(row["properties"]) == ["weight", "width", "colour"]
    assert replica.predict(row["example"]).status_code == 200


def test_the_document_refers_only_to_what_it_holds(steady: Replica) -> None:
    text = steady.client.get("/openapi.json").text
    schemas = json.loads(text)["components"]["schemas"]
    referred = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert referred <= set(schemas)
    assert "HTTPValidationError" not in schemas


def test_the_documentation_needs_no_other_host(steady: Replica) -> None:
    page = steady.client.get("/docs").text
    assert "http://" not in page and "https://" not in page
    for path in ("swagger-ui-bundle.js", "swagger-ui.css"):
        assert f"/static-offline-docs/{path}" in page
        assert steady.client.get(f"/static-offline-docs/{path}").status_code == 200


def test_requests_are_counted_by_route_and_status(replica: Replica) -> None:
    replica.predict(EXAMPLE)
    replica.predict(EXAMPLE)
    replica.predict({})
    replica.client.get("/nowhere")
    replica.client.get("/somewhere")
    requests = "inference_requests_total"
    assert replica.metric(requests + '{route="/predict",status="200"}') == 2
    assert replica.metric(requests + '{route="/predict",status="422"}') == 1
    assert replica.metric(requests + '{route="other",status="404"}') == 2
    duration = "inference_request_duration_seconds"
    assert replica.metric(duration + '_count{route="/predict"}') == 3
    assert replica.metric(duration + '_bucket{le="+Inf",route="/predict"}') == 3
    assert 0 < replica.metric(duration + '_sum{route="/predict"}') < 3


def test_the_metrics_tell_of_models_and_registry(replica: Replica) -> None:
    info = 'inference_model_info{default="true",name="modelo1",version="1"}'
    assert replica.metric(info) == 1
    assert replica.metric("inference_registry_reachable") == 1
    assert replica.metric("inference_model_loads_total") == 1
    assert replica.metric("inference_model_load_seconds_total") > 0


def test_limits_are_settings(mlflow: FakeMlflow, make_settings: MakeSettings) -> None:
    mlflow.publish(files())
    with Replica(make_settings(max_rows=2, max_body_bytes=1024)) as replica:
        replica.wait_for_version("1")
        assert replica.predict([EXAMPLE] * 2).status_code == 200
        assert replica.predict([EXAMPLE] * 3).status_code == 413
        assert replica.client.post("/predict", content=b" " * 1025).status_code == 413
        document = replica.client.get("/openapi.json").json()
        schema = document["paths"]["/predict"]["post"]["requestBody"]["content"]
        assert schema["application/json"]["schema"]["oneOf"][1]["maxItems"] == 2


def test_a_connection_serves_many_requests(steady: Replica) -> None:
    with httpx.Client(base_url=steady.url, limits=httpx.Limits(max_connections=1)) as client:
        streams = set()
        for body in (EXAMPLE, {}, EXAMPLE):
            answer = client.post("/predict", json=body)
            streams.add(answer.extensions["network_stream"].get_extra_info("client_addr"))
        assert len(streams) == 1
