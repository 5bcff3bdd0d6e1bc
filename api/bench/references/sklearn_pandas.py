"""What most stacks serve: the estimator itself, with pandas, in FastAPI.

Run in Airflow's image by uvicorn, with the pipeline's package on the path and the estimator, as
`fit_estimator.py` gives it, in ESTIMATOR.
"""

import os
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from fastapi import FastAPI
from pydantic import BaseModel, create_model

from covertype.features import derive
from covertype.schema import INPUTS

_estimator = pickle.loads(Path(os.environ["ESTIMATOR"]).read_bytes())  # noqa: S301 - our own
_estimator.set_params(n_jobs=1)
_fields: dict[str, Any] = {
    column.name: (str if column.kind == "category" else float, ...) for column in INPUTS
}
if TYPE_CHECKING:
    Observation = BaseModel
else:
    Observation = create_model("Observation", **_fields)

app = FastAPI()


@app.post("/predict")
async def predict(observation: Observation) -> dict[str, int]:
    """Predict the class of one observation."""
    frame = pd.DataFrame([observation.model_dump()])
    for column in INPUTS:
        if column.kind == "category":
            codes = pd.Categorical(frame[column.name], categories=list(column.categories)).codes
            frame[column.name] = codes
    features = derive(frame.to_numpy("float32"))
    return {"class_number": int(_estimator.predict(features)[0])}
