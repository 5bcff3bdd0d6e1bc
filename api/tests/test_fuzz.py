"""Whatever the body is, the answer is no 5xx and the replica goes on."""

import json
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference_api.schema import parse_schema, row_json_schema
from tests.conftest import Replica
from tests.fuzzing import fuzz, main
from tests.graphs import EXAMPLE, NAMES, PLACES, schema

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(PLACES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
ROWS = st.builds(
    lambda row, changes, without: {
        key: value for key, value in {**row, **changes}.items() if key not in without
    },
    st.just(EXAMPLE),
    st.dictionaries(st.sampled_from(NAMES) | st.text(), VALUES, max_size=3),
    st.sets(st.sampled_from(NAMES), max_size=1),
)
JSON = (ROWS | st.lists(ROWS, max_size=4) | VALUES).map(lambda body: json.dumps(body).encode())
BODIES = (
    JSON | st.binary(max_size=200) | st.text().map(lambda text: text.encode("utf-8", "replace"))
)
BOUNDED = settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)


def check(status: int, body: Any, statuses: set[int]) -> None:
    assert status in statuses
    if status == 200:
        assert body["model"]["version"] == "1"
    elif status == 422:
        assert body["detail"]
        assert all(one["msg"] and one["type"] and one["loc"] for one in body["detail"])
    else:
        assert isinstance(body["detail"], str)


@BOUNDED
@given(BODIES)
def test_any_body_to_predict(steady: Replica, content: bytes) -> None:
    answer = steady.client.post("/predict", content=content)
    check(answer.status_code, answer.json(), {200, 422})


@BOUNDED
@given(ROWS)
def test_what_is_accepted_is_what_the_document_says(steady: Replica, row: dict[str, Any]) -> None:
    """The fast decoder, and a check written from the OpenAPI document, agree on every row."""
    document = row_json_schema(parse_schema({"metadata": {"feature_schema": schema(b"")}}))
    fits = set(row) == set(document["required"]) and all(
        value in document["properties"][name]["enum"]
        if document["properties"][name]["type"] == "string"
        else isinstance(value, int | float)
        and not isinstance(value, bool)
        and document["properties"][name]["minimum"] <= value
        and value <= document["properties"][name]["maximum"]
        for name, value in row.items()
    )
    status = steady.client.post("/predict", content=json.dumps(row)).status_code
    assert status == (200 if fits else 422)


@BOUNDED
@given(
    st.builds(
        lambda name, version: json.dumps({"model_name": name, "version": version}).encode(),
        st.text() | VALUES,
        VALUES,
    )
    | BODIES
)
def test_any_body_to_select_model(steady: Replica, content: bytes) -> None:
    answer = steady.client.post("/select-model", content=content)
    # 400 is what FastAPI says of bytes that are no text.
    check(answer.status_code, answer.json(), {200, 400, 404, 422})


def test_the_documents_requests_get_the_documents_answers(steady: Replica) -> None:
    statuses = fuzz(steady.url, 10, derandomize=True)
    assert {200, 404, 422} <= set(statuses) <= {200, 400, 404, 422}


def test_the_benchmark_reads_what_the_command_prints(
    steady: Replica, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["fuzzing", steady.url, "2"])
    main()
    statuses = json.loads(capsys.readouterr().out)
    assert sum(statuses.values()) > 0


@BOUNDED
@given(st.binary(max_size=60), st.sampled_from(["x-model", "cookie"]))
def test_any_selection(steady: Replica, value: bytes, header: str) -> None:
    # Bytes that HTTP itself forbids in a header never reach the service.
    value = bytes(byte for byte in value if byte >= 32 and byte != 127)
    content = b"model=" + value if header == "cookie" else value
    answer = steady.client.post(
        "/predict", json=EXAMPLE, headers=[(header.encode(), content.strip())]
    )
    check(answer.status_code, answer.json(), {200, 404})
