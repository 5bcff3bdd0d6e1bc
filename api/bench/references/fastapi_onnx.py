"""What a careful team writes: FastAPI, a pydantic model, ONNX Runtime with one thread.

Run in the inference API's image by uvicorn, with the version's folder in MODEL_FOLDER.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel, create_model

from bench.references.graph import encode, open_graph
from inference_api.schema import CategoryInput

_schema, _session = open_graph(Path(os.environ["MODEL_FOLDER"]))
_names = {label.number: label.name for label in _schema.classes}
_fields: dict[str, Any] = {
    column.name: (
        Literal[column.categories] if isinstance(column, CategoryInput) else float,
        ...,
    )
    for column in _schema.inputs
}
if TYPE_CHECKING:
    Observation = BaseModel
else:
    Observation = create_model("Observation", **_fields)


class Prediction(BaseModel):
    """The answer to one observation."""

    class_number: int
    class_name: str


app = FastAPI()


@app.post("/predict")
async def predict(observation: Observation) -> Prediction:
    """Predict the class of one observation."""
    row = np.array([encode(_schema, observation.model_dump())], np.float32)
    labels = _session.run([_schema.onnx.output], {_schema.onnx.input: row})[0]
    number = int(labels[0])
    return Prediction(class_number=number, class_name=_names[number])
