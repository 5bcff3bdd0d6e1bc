"""Rows as scikit-learn's estimator takes them."""

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
from numpy.typing import NDArray

from covertype import features, schema  # type: ignore[import-not-found]


def encode(frame: pd.DataFrame) -> NDArray[np.float32]:
    """Return rows as the graph takes them: float32 [rows, inputs], categories as their index."""
    columns = [
        frame[column.name].map({value: code for code, value in enumerate(column.categories)})
        if column.categories
        else frame[column.name]
        for column in schema.INPUTS
    ]
    return np.column_stack([column.to_numpy(np.float32) for column in columns])


def encode_and_derive(frame: pd.DataFrame) -> NDArray[np.float32]:
    """Return rows as the estimator takes them: with the derived columns."""
    derived: NDArray[np.float32] = features.derive(encode(frame))
    return derived
