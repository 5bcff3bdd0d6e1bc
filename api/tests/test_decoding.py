import json
import struct
from typing import Any

import msgspec
import pytest

from inference_api.decoding import MAX_PROBLEMS, RowDecoder
from inference_api.problems import InvalidBodyError, Problem, ServiceError
from inference_api.schema import FeatureSchema
from tests import graphs

DECODER = RowDecoder(msgspec.convert(graphs.schema(b""), FeatureSchema), max_rows=5)


def problems(body: bytes) -> list[Problem]:
    with pytest.raises(InvalidBodyError) as caught:
        DECODER.decode(body)
    return caught.value.problems


def problem(body: Any) -> tuple[list[str | int], str]:
    (only,) = problems(body if isinstance(body, bytes) else json.dumps(body).encode())
    assert only["msg"]
    return only["loc"], only["type"]


def row(**changes: Any) -> dict[str, Any]:
    return {**graphs.EXAMPLE, **changes}


def test_one_row_becomes_float32_in_the_order_of_the_schema() -> None:
    body = b'{"place": "far away", "slope %": 0.1, "height": -7}'
    assert DECODER.decode(body) == (struct.pack("=3f", -7, 0.1, 2), 1)


def test_a_list_becomes_its_rows_one_after_the_other() -> None:
    packed, count = DECODER.decode(json.dumps([row(), row(place="there")]).encode())
    assert count == 2
    assert packed == struct.pack("=6f", 10, 2.5, 0, 10, 2.5, 1)


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        ("10", "float_type"),
        (True, "float_type"),
        (None, "float_type"),
        ([1], "float_type"),
        ({}, "float_type"),
        (float("nan"), "finite_number"),
        (float("inf"), "finite_number"),
        (float("-inf"), "finite_number"),
        (1e39, "finite_number"),
        (-(10**60), "finite_number"),
    ],
)
def test_a_wrong_number_is_named(value: Any, type_: str) -> None:
    assert problem(row(height=value)) == (["body", "height"], type_)


@pytest.mark.parametrize("digits", [b"1e999", b"1" * 5000])
def test_a_number_beyond_any_float_is_named(digits: bytes) -> None:
    body = b'{"height": ' + digits + b', "slope %": 1, "place": "here"}'
    assert problem(body) == (["body", "height"], "finite_number")


def test_the_largest_float32_is_accepted() -> None:
    packed, _ = DECODER.decode(json.dumps(row(height=3.4028234663852886e38)).encode())
    assert struct.unpack("=3f", packed)[0] == 3.4028234663852886e38


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        ("nowhere", "enum"),
        ("Here", "enum"),
        ("", "enum"),
        (0, "string_type"),
        (True, "string_type"),
        (None, "string_type"),
        (["here"], "string_type"),
    ],
)
def test_a_wrong_category_is_named(value: Any, type_: str) -> None:
    assert problem(row(place=value)) == (["body", "place"], type_)


def test_an_unknown_category_is_answered_with_those_that_exist() -> None:
    (only,) = problems(json.dumps(row(place="nowhere")).encode())
    assert only["msg"] == "Input should be one of 'here', 'there', 'far away'"


def test_a_long_list_of_categories_is_shortened() -> None:
    inputs = [{"name": "soil", "kind": "category", "categories": [f"C{i}" for i in range(40)]}]
    schema = msgspec.convert(graphs.schema(b"", inputs=inputs), FeatureSchema)
    with pytest.raises(InvalidBodyError) as caught:
        RowDecoder(schema, 5).decode(b'{"soil": "x"}')
    (only,) = caught.value.problems
    assert "'C9', ... (40 values" in only["msg"]
    assert "'C10'" not in only["msg"]


def test_every_problem_of_every_row_is_listed() -> None:
    body = [{"height": "x", "place": 3, "more": 1}, row(), 7, row(place="?")]
    found = [(tuple(one["loc"]), one["type"]) for one in problems(json.dumps(body).encode())]
    assert found == [
        (("body", 0, "height"), "float_type"),
        (("body", 0, "slope %"), "missing"),
        (("body", 0, "place"), "string_type"),
        (("body", 0, "more"), "extra_forbidden"),
        (("body", 2), "dict_type"),
        (("body", 3, "place"), "enum"),
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"height=10",
        b'{"height": 10,}',
        b"{'height': 10}",
        b'{"height": 1} x',
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf{}",
        b'{"place": "\xff"}',
        b"[" * 200_000,
        b'{"a":' * 200_000,
    ],
)
def test_what_is_no_json_is_said_so(body: bytes) -> None:
    (only,) = problems(body)
    assert only["loc"] == ["body"]
    assert only["type"] == "json_invalid"
    assert only["msg"].startswith("The body is not JSON: ")


@pytest.mark.parametrize("body", [b"null", b"true", b"3", b'"height"'])
def test_another_kind_of_json_is_said_so(body: bytes) -> None:
    assert problem(body) == (["body"], "dict_type")


def test_an_empty_list_is_refused() -> None:
    assert problem([]) == (["body"], "too_short")


def test_a_list_of_lists_is_refused_row_by_row() -> None:
    assert [one["loc"] for one in problems(b"[[10, 2, 3], [1]]")] == [["body", 0], ["body", 1]]


@pytest.mark.parametrize("rows", [[row()] * 6, [1] * 6])
def test_a_list_that_is_too_long_is_answered_with_413(rows: list[Any]) -> None:
    with pytest.raises(ServiceError) as caught:
        DECODER.decode(json.dumps(rows).encode())
    assert caught.value.status == 413
    assert "6 rows; at most 5" in caught.value.detail


def test_of_a_field_given_twice_the_last_value_counts() -> None:
    body = b'{"height": 1, "height": 5, "slope %": 0, "place": "here"}'
    assert DECODER.decode(body)[0] == struct.pack("=3f", 5, 0, 0)


def test_a_field_given_twice_with_one_wrong_value_is_refused() -> None:
    body = b'{"height": "x", "height": 5, "slope %": 0, "place": "here"}'
    (only,) = problems(body)
    assert only["type"] == "value_error"
    assert "height" in only["msg"]


def test_the_list_of_problems_has_an_end() -> None:
    body = json.dumps({f"field {i}": 1 for i in range(5000)}).encode()
    found = problems(body)
    assert len(found) == MAX_PROBLEMS + 1
    assert found[-1]["type"] == "too_many_problems"
    assert found[-1]["msg"].startswith(f"{5003 - MAX_PROBLEMS} more problems")


def test_a_long_name_is_shortened() -> None:
    (only,) = problems(json.dumps(row(**{"x" * 5000: 1})).encode())
    assert len(str(only["loc"][1])) == 100
