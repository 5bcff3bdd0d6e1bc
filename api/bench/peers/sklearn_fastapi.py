"""A peer: a scikit-learn estimator and pandas in FastAPI, as courses show it."""

import os
from pathlib import Path

import joblib  # type: ignore[import-untyped]
import pandas as pd  # type: ignore[import-untyped]
from fastapi import FastAPI
from pydantic import BaseModel

from bench.paths import Folder
from bench.rows import encode_and_derive

app = FastAPI()
estimator = joblib.load(Folder(Path(os.environ["BENCH_FOLDER"])).estimator)


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
    Wilderness_Area: str
    Soil_Type: str


@app.post("/predict")
def predict(row: Row) -> dict[str, int]:
    """Predict one row."""
    frame = pd.DataFrame([row.model_dump()])
    return {"prediction": int(estimator.predict(encode_and_derive(frame))[0])}
