"""What the references that use ONNX Runtime share: the graph and its input."""

from pathlib import Path
from typing import Any

import onnxruntime as ort  # type: ignore[import-untyped] # it ships no types

from inference_api.model import MLMODEL_FILE, read_schema
from inference_api.schema import CategoryInput, FeatureSchema


def open_graph(folder: Path) -> tuple[FeatureSchema, ort.InferenceSession]:
    """Open a version's folder, as a replica keeps it, with one thread."""
    schema = read_schema(folder / MLMODEL_FILE)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    path = str(folder / schema.onnx.file)
    return schema, ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def encode(schema: FeatureSchema, row: dict[str, Any]) -> list[float]:
    """The graph's input for one observation."""
    return [
        float(column.categories.index(row[column.name]))
        if isinstance(column, CategoryInput)
        else float(row[column.name])
        for column in schema.inputs
    ]
