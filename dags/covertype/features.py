"""Columns derived from the inputs, for training with NumPy and for serving inside the ONNX graph.

Both come from the same definitions, so that clients send only the inputs and training and
serving cannot differ. All inputs are whole numbers below 2**13, so every sum, difference and sum
of squares is exact in float32 and both sides agree to the bit.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from covertype.dataset import Floats
from covertype.schema import INPUTS

_ELEVATION = "Elevation"
_WATER = "Horizontal_Distance_To_Hydrology"
_WATER_HEIGHT = "Vertical_Distance_To_Hydrology"
_ROADS = "Horizontal_Distance_To_Roadways"
_FIRE = "Horizontal_Distance_To_Fire_Points"

LINEAR = (
    ({_ELEVATION: 1, _WATER_HEIGHT: -1}, "Elevation_Of_Water"),
    ({_ELEVATION: 1, _WATER_HEIGHT: 1}, "Elevation_Plus_Water_Height"),
    ({_WATER: 1, _FIRE: 1}, "Water_Plus_Fire"),
    ({_WATER: 1, _FIRE: -1}, "Water_Minus_Fire"),
    ({_WATER: 1, _ROADS: 1}, "Water_Plus_Roads"),
    ({_WATER: 1, _ROADS: -1}, "Water_Minus_Roads"),
    ({_FIRE: 1, _ROADS: 1}, "Fire_Plus_Roads"),
    ({_FIRE: 1, _ROADS: -1}, "Fire_Minus_Roads"),
)
"""Weights of the inputs in each derived column, and the column's name."""

DISTANCE = ((_WATER, _WATER_HEIGHT), "Distance_To_Water")
"""The two inputs whose Euclidean length is the last derived column."""

NAMES = (*(column.name for column in INPUTS), *(name for _, name in LINEAR), DISTANCE[1])
"""The columns that a model sees, in order."""

_POSITIONS = {column.name: position for position, column in enumerate(INPUTS)}


def _matrix() -> Floats:
    matrix = np.zeros((len(INPUTS), len(LINEAR)), dtype=np.float32)
    for position, (weights, _) in enumerate(LINEAR):
        for name, weight in weights.items():
            matrix[_POSITIONS[name], position] = weight
    return matrix


_MATRIX = _matrix()
_LEGS = [_POSITIONS[name] for name in DISTANCE[0]]


def derive(features: Floats) -> Floats:
    """Append the derived columns.

    Args:
        features: float32 [rows, len(INPUTS)].

    Returns:
        float32 [rows, len(NAMES)].
    """
    legs = features[:, _LEGS]
    distance = np.sqrt((legs * legs).sum(axis=1, keepdims=True))
    return np.concatenate([features, features @ _MATRIX, distance], axis=1)


def onnx_nodes(source: str, target: str) -> tuple[list[NodeProto], list[TensorProto]]:
    """The same as ``derive``, as ONNX operators.

    Args:
        source: Name of the tensor float32 [rows, len(INPUTS)].
        target: Name to give the tensor float32 [rows, len(NAMES)].

    Returns:
        The nodes in order of execution, and their constants.
    """
    constants: dict[str, NDArray[Any]] = {
        "linear_weights": _MATRIX,
        "distance_legs": np.array(_LEGS, dtype=np.int64),
        "column_axis": np.array([1], dtype=np.int64),
    }
    make: Any = helper.make_node
    nodes = [
        make("MatMul", [source, "linear_weights"], ["linear"]),
        make("Gather", [source, "distance_legs"], ["legs"], axis=1),
        make("Mul", ["legs", "legs"], ["squares"]),
        make("ReduceSum", ["squares", "column_axis"], ["square_sum"], keepdims=1),
        make("Sqrt", ["square_sum"], ["distance"]),
        make("Concat", [source, "linear", "distance"], [target], axis=1),
    ]
    return nodes, [numpy_helper.from_array(array, name) for name, array in constants.items()]
