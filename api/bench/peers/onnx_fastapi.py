"""A peer: ONNX Runtime in FastAPI with a pydantic model, on one thread."""

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime as ort  # type: ignore[import-untyped] # it ships no types
from fastapi import FastAPI
from pydantic import BaseModel

from bench.paths import Folder
from inference_api.model import MLMODEL_FILE, read_schema
from inference_api.schema import CategoryInput

folder = Folder(Path(os.environ["BENCH_FOLDER"]))
app = FastAPI()
options = ort.SessionOptions()
options.intra_op_num_threads = 1
options.inter_op_num_threads = 1
session = ort.InferenceSession(str(folder.graph), options, providers=["CPUExecutionProvider"])
schema = read_schema(folder.path / MLMODEL_FILE)
wilderness_areas, soil_types = (
    {value: code for code, value in enumerate(column.categories)}
    for column in schema.inputs
    if isinstance(column, CategoryInput)
)
Wilderness: Any = Literal[tuple(wilderness_areas)]
Soil: Any = Literal[tuple(soil_types)]


class Row(BaseModel):
    """One row."""

    Elevation: float
    Aspect: float
    Slope: float
    Horizontal_Distance_To_Hydrology: float
    Vertical_Distance_To_Hydrology: float
    Horizontal_Distance_To_Roadways: float
    Hillshade_9am: float
    Hillshade_Noon: float
    Hillshade_3pm: float
    Horizontal_Distance_To_Fire_Points: float
    Wilderness_Area: Wilderness
    Soil_Type: Soil


class Prediction(BaseModel):
    """The answer."""

    class_number: int
    class_name: str


names = {label.number: label.name for label in schema.classes}


# Not a plain function: FastAPI would run it in a thread, which costs more than the model.
@app.post("/predict")
async def predict(row: Row) -> Prediction:
    """Predict one row."""
    values = list(row.__dict__.values())
    values[10] = wilderness_areas[values[10]]
    values[11] = soil_types[values[11]]
    features = np.array([values], np.float32)
    (labels,) = session.run([schema.onnx.output], {schema.onnx.input: features})
    number = int(labels[0])
    return Prediction(class_number=number, class_name=names[number])
