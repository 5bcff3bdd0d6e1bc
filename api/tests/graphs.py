"""Small real models: a decision tree as an ONNX graph, and the files that MLflow keeps of it.

The tree of a model with threshold t: the first class where height <= t, else the second class
where place is "here", else the third.
"""

import hashlib
from typing import Any

import yaml
from onnx import TensorProto, helper

PLACES = ["here", "there", "far away"]
CLASSES = ["low", "Föhre", "other"]
NAMES = ["height", "slope %", "place"]
EXAMPLE: dict[str, Any] = {"height": 10, "slope %": 2.5, "place": "here"}


def tree(
    threshold: float = 100.0,
    width: int = 3,
    output: str = "label",
    dtype: int = TensorProto.FLOAT,
    rows: int | str = "rows",
    numbers: tuple[int, int, int] = (0, 1, 2),
) -> bytes:
    """Return the graph, serialised."""
    node = helper.make_node(
        "TreeEnsembleClassifier",
        ["features"],
        [output, "probabilities"],
        domain="ai.onnx.ml",
        nodes_treeids=[0] * 5,
        nodes_nodeids=[0, 1, 2, 3, 4],
        nodes_featureids=[0, 0, width - 1, 0, 0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "BRANCH_LEQ", "LEAF", "LEAF"],
        nodes_values=[threshold, 0.0, 0.5, 0.0, 0.0],
        nodes_truenodeids=[1, 0, 3, 0, 0],
        nodes_falsenodeids=[2, 0, 4, 0, 0],
        nodes_missing_value_tracks_true=[0] * 5,
        class_treeids=[0, 0, 0],
        class_nodeids=[1, 3, 4],
        class_ids=[0, 1, 2],
        class_weights=[1.0, 1.0, 1.0],
        classlabels_int64s=list(numbers),
        post_transform="NONE",
    )
    graph = helper.make_graph(
        [node],
        "tree",
        [helper.make_tensor_value_info("features", dtype, [rows, width])],
        [
            helper.make_tensor_value_info(output, TensorProto.INT64, [rows]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [rows, 3]),
        ],
    )
    opsets = [helper.make_opsetid("", 15), helper.make_opsetid("ai.onnx.ml", 3)]
    model: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    return model


def schema(graph: bytes, **changes: Any) -> dict[str, Any]:
    """Return the feature schema that belongs to a graph of :func:`tree`."""
    return {
        "format": 1,
        "inputs": [
            {"name": "height", "kind": "number"},
            {"name": "slope %", "kind": "number"},
            {"name": "place", "kind": "category", "categories": PLACES},
        ],
        "target": "kind",
        "classes": [{"number": number, "name": name} for number, name in enumerate(CLASSES)],
        "onnx": {
            "file": "model.onnx",
            "input": "features",
            "output": "label",
            "sha256": hashlib.sha256(graph).hexdigest(),
        },
        **changes,
    }


def files(graph: bytes | None = None, **changes: Any) -> dict[str, bytes]:
    """Return the files of a version in the registry.

    Args:
        graph: The serialised graph; by default a good one.
        changes: Entries of the feature schema that differ from the right ones.
    """
    graph = tree() if graph is None else graph
    mlmodel = {
        "flavors": {"onnx": {"data": "model.onnx"}},
        "metadata": {"feature_schema": schema(graph, **changes)},
    }
    return {"MLmodel": yaml.safe_dump(mlmodel).encode(), "model.onnx": graph}
