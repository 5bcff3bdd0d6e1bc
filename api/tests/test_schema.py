from typing import Any

import pytest

from inference_api.schema import SchemaError, parse_schema, row_json_schema
from tests import graphs


def mlmodel(**changes: Any) -> dict[str, Any]:
    return {"metadata": {"feature_schema": graphs.schema(b"", **changes)}}


def test_a_schema_is_read_whole() -> None:
    schema = parse_schema(mlmodel())
    assert [column.name for column in schema.inputs] == graphs.NAMES
    assert [label.name for label in schema.classes] == graphs.CLASSES
    assert schema.onnx.file == "model.onnx"


def test_what_a_later_format_adds_is_ignored() -> None:
    assert parse_schema(mlmodel(trained_by="someone")).format == 1


@pytest.mark.parametrize("document", [None, [], {}, {"metadata": None}, {"metadata": {}}])
def test_a_missing_schema_is_said_so(document: object) -> None:
    with pytest.raises(SchemaError, match=r"no metadata\.feature_schema"):
        parse_schema(document)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format"),
        ({"inputs": []}, "inputs"),
        ({"inputs": [{"name": "x"}]}, "kind"),
        ({"inputs": [{"name": "x", "kind": "date"}]}, "date"),
        ({"inputs": [{"name": "", "kind": "number"}]}, "name"),
        ({"inputs": [{"name": "x", "kind": "category", "categories": []}]}, "categories"),
        ({"inputs": [{"name": "x", "kind": "number"}] * 2}, "input given twice"),
        (
            {"inputs": [{"name": "x", "kind": "category", "categories": ["a", "a"]}]},
            "category of x given twice",
        ),
        ({"classes": []}, "classes"),
        ({"classes": [{"number": 1, "name": "a"}] * 2}, "class number given twice"),
        ({"classes": [{"number": "1", "name": "a"}]}, "number"),
        ({"target": None}, "target"),
        ({"onnx": {}}, "file"),
    ],
)
def test_a_malformed_schema_is_refused_with_the_place(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SchemaError, match=message):
        parse_schema(mlmodel(**changes))


@pytest.mark.parametrize("file", ["../model.onnx", "/etc/passwd", "a/b", "", ".hidden"])
def test_a_graph_outside_its_folder_is_refused(file: str) -> None:
    onnx = {**graphs.schema(b"")["onnx"], "file": file}
    with pytest.raises(SchemaError, match="file"):
        parse_schema(mlmodel(onnx=onnx))


def test_the_json_schema_has_the_fields_and_an_example() -> None:
    document = row_json_schema(parse_schema(mlmodel()))
    assert document["required"] == graphs.NAMES
    assert document["properties"]["place"]["enum"] == graphs.PLACES
    assert document["properties"]["height"]["type"] == "number"
    assert document["additionalProperties"] is False
    assert document["example"] == {"height": 0, "slope %": 0, "place": "here"}
