import json
import struct
from pathlib import Path
from typing import Any

import onnx
import pytest

from inference_api.model import Identity, LoadedModel, ModelRefusedError, load
from tests import graphs

IDENTITY = Identity("modelo1", "7", 1)


def write(directory: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (directory / name).write_bytes(content)
    return directory


def loaded(directory: Path, **arguments: Any) -> LoadedModel:
    return load(IDENTITY, write(directory, graphs.files(**arguments)), max_rows=1000)


def refused(directory: Path, files: dict[str, bytes]) -> ModelRefusedError:
    with pytest.raises(ModelRefusedError) as caught:
        load(IDENTITY, write(directory, files), max_rows=1000)
    return caught.value


def answer(model: LoadedModel, body: Any) -> Any:
    rows, count = model.decode(json.dumps(body).encode())
    (answer,) = model.predict([rows], [count])
    return json.loads(answer)


def test_one_row_is_answered_with_class_and_model(tmp_path: Path) -> None:
    assert answer(loaded(tmp_path), {**graphs.EXAMPLE, "height": 101}) == {
        "predictions": [{"class_number": 1, "class_name": "Föhre"}],
        "model": {"name": "modelo1", "version": "7"},
    }


def test_a_list_is_answered_like_its_rows_one_by_one(tmp_path: Path) -> None:
    model = loaded(tmp_path)
    rows = [
        {"height": height, "slope %": 0, "place": place}
        for height in (99.5, 100, 100.5, -1e30)
        for place in graphs.PLACES
    ]
    one_by_one = [answer(model, row)["predictions"][0] for row in rows]
    assert answer(model, rows)["predictions"] == one_by_one
    numbers = [label["class_number"] for label in one_by_one]
    assert numbers == [0, 0, 0, 0, 0, 0, 1, 2, 2, 0, 0, 0]


def test_an_answer_does_not_depend_on_the_one_before(tmp_path: Path) -> None:
    model = loaded(tmp_path)
    low, high = struct.pack("=3f", 1, 0, 0), struct.pack("=3f", 500, 0, 2)
    assert [model.labels(rows, 1) for rows in (low, high, low)] == [[0], [2], [0]]


def test_a_wrong_digest_is_refused(tmp_path: Path) -> None:
    files = graphs.files()
    error = refused(tmp_path, {**files, "model.onnx": files["model.onnx"] + b"x"})
    assert error.reason == "sha256"
    assert "model.onnx" in str(error)


def test_a_missing_graph_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, {"MLmodel": graphs.files()["MLmodel"]}).reason == "unreadable"


def test_a_missing_description_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, {}).reason == "unreadable"


@pytest.mark.parametrize("graph", [b"", b"no graph", graphs.tree()[:100]])
def test_what_is_no_graph_is_refused(tmp_path: Path, graph: bytes) -> None:
    assert refused(tmp_path, graphs.files(graph)).reason == "onnx"


@pytest.mark.parametrize("mlmodel", [b"", b"{", b"metadata: {}", b"\x00\xff", b"[" * 100_000])
def test_an_unusable_description_is_refused(tmp_path: Path, mlmodel: bytes) -> None:
    assert refused(tmp_path, {**graphs.files(), "MLmodel": mlmodel}).reason == "schema"


def test_a_description_runs_no_code(tmp_path: Path) -> None:
    mlmodel = b"!!python/object/apply:os.mkdir [/tmp/never]"
    assert refused(tmp_path, {**graphs.files(), "MLmodel": mlmodel}).reason == "schema"


@pytest.mark.parametrize(
    "arguments",
    [
        {"width": 4},
        {"output": "class"},
        {"dtype": onnx.TensorProto.DOUBLE},
        {"rows": 1},
    ],
)
def test_another_signature_than_the_schema_says_is_refused(
    tmp_path: Path, arguments: dict[str, Any]
) -> None:
    assert refused(tmp_path, graphs.files(graphs.tree(**arguments))).reason == "signature"


def test_another_input_than_the_schema_says_is_refused(tmp_path: Path) -> None:
    graph = graphs.tree()
    names = {**graphs.schema(graph)["onnx"], "input": "rows"}
    error = refused(tmp_path, graphs.files(graph, onnx=names))
    assert error.reason == "signature"
    assert "features" in str(error)


def test_an_output_of_another_type_is_refused(tmp_path: Path) -> None:
    graph = graphs.tree()
    names = {**graphs.schema(graph)["onnx"], "output": "probabilities"}
    assert refused(tmp_path, graphs.files(graph, onnx=names)).reason == "signature"


def test_a_class_without_a_name_is_refused(tmp_path: Path) -> None:
    error = refused(tmp_path, graphs.files(graphs.tree(numbers=(0, 1, 9), threshold=-1)))
    assert error.reason == "warm_up"
    assert "[9]" in str(error)


def test_a_graph_that_fails_when_it_runs_is_refused(tmp_path: Path) -> None:
    # A category's index is looked up in a table that is too short for it.
    table = onnx.helper.make_tensor("table", onnx.TensorProto.INT64, [2], [0, 1])
    last = onnx.helper.make_tensor("last", onnx.TensorProto.INT64, [], [2])
    nodes = [
        onnx.helper.make_node("Gather", ["features", "last"], ["column"], axis=1),
        onnx.helper.make_node("Cast", ["column"], ["index"], to=onnx.TensorProto.INT64),
        onnx.helper.make_node("Gather", ["table", "index"], ["label"], axis=0),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "short",
        [onnx.helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, ["rows", 3])],
        [onnx.helper.make_tensor_value_info("label", onnx.TensorProto.INT64, ["rows"])],
        [table, last],
    )
    opsets = [onnx.helper.make_opsetid("", 15)]
    content = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    assert refused(tmp_path, graphs.files(content)).reason == "warm_up"
