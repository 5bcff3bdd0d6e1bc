"""Makes what is served: the platform's own kind of model, fitted to a tenth of Covertype.

The folder then has the ONNX graph with its ``MLmodel`` file, the same estimator for scikit-learn
and for MLflow, and held-out rows as request bodies.
"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib  # type: ignore[import-untyped]
import mlflow.sklearn
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import yaml
from sklearn.pipeline import make_pipeline  # type: ignore[import-untyped]
from sklearn.preprocessing import FunctionTransformer  # type: ignore[import-untyped]

from bench.paths import REPOSITORY, Folder
from bench.rows import encode, encode_and_derive
from covertype import candidates, export, schema, training  # type: ignore[import-not-found]
from covertype.dataset import Rows  # type: ignore[import-not-found]
from covertype_source.build import covertype_rows  # type: ignore[import-not-found]
from covertype_source.covertype import COLUMNS  # type: ignore[import-not-found]
from inference_api.model import MLMODEL_FILE

CANDIDATE = "extra-trees-51"
_FIT_ROWS = 58_100
_REQUEST_ROWS = 20_000
_BATCHES = (10, 100, 1000)
_SEED = 1


def prepare(folder: Folder) -> None:
    """Fill the folder, unless that was done before.

    Args:
        folder: Where everything goes.

    Raises:
        subprocess.CalledProcessError: The data set cannot be downloaded.
    """
    if folder.ready.exists():
        return
    folder.path.mkdir(parents=True, exist_ok=True)
    frame = _read(folder)
    order = np.random.default_rng(_SEED).permutation(len(frame))
    fitted, held_out = order[:_FIT_ROWS], order[_FIT_ROWS : _FIT_ROWS + _REQUEST_ROWS]
    estimator = _fit(frame.iloc[fitted])
    _write_graph(folder, estimator)
    joblib.dump(estimator, folder.estimator)
    _write_mlflow_model(folder, estimator)
    _write_requests(folder, frame.iloc[held_out])
    folder.ready.touch()


def _read(folder: Folder) -> pd.DataFrame:
    # As data_api/dataset.txt says.
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--require-hashes"),
            *("--only-binary=:all:", "--python-version", "37", "--implementation", "cp"),
            *("--abi", "cp37m", "--platform", "manylinux1_x86_64", "--dest", str(folder.path)),
            *("-r", str(REPOSITORY / "data_api" / "dataset.txt")),
        ],
        check=True,
    )
    (wheel,) = folder.path.glob("*.whl")
    frame = pd.DataFrame(list(covertype_rows(wheel)), columns=list(COLUMNS))
    numbers = [column.name for column in schema.INPUTS if not column.categories]
    return frame.astype(dict.fromkeys([*numbers, schema.TARGET.name], np.int64))


def _fit(frame: pd.DataFrame) -> Any:
    candidate = next(one for one in candidates.SEARCH_SPACE if one.name == CANDIDATE)
    labels = frame[schema.TARGET.name].to_numpy()
    rows = Rows(encode(frame), labels, np.zeros(len(labels), np.int64))
    estimator = training.fit(candidate, rows, training.available_cpus())
    estimator.n_jobs = 1  # a thread pool for a single row would only cost
    return estimator


def _write_graph(folder: Folder, estimator: Any) -> None:
    content = export.to_onnx(estimator).SerializeToString()
    folder.graph.write_bytes(content)
    feature_schema = export.feature_schema(hashlib.sha256(content).hexdigest())
    (folder.path / MLMODEL_FILE).write_text(
        yaml.safe_dump({"metadata": {"feature_schema": feature_schema}})
    )


def _write_mlflow_model(folder: Folder, estimator: Any) -> None:
    pipeline = make_pipeline(FunctionTransformer(encode_and_derive), estimator)
    # The default format refuses this estimator.
    mlflow.sklearn.save_model(pipeline, folder.mlflow_model, serialization_format="cloudpickle")


def _write_requests(folder: Folder, frame: pd.DataFrame) -> None:
    rows = frame[[column.name for column in schema.INPUTS]].to_dict("records")
    _write_lines(folder.bodies(1), rows)
    _write_lines(folder.mlflow_bodies, [{"dataframe_records": [row]} for row in rows])
    for size in _BATCHES:
        batches = [rows[start : start + size] for start in range(0, len(rows), size)]
        _write_lines(folder.bodies(size), batches)
    np.save(folder.rows, encode(frame))


def _write_lines(path: Path, values: list[Any]) -> None:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))


if __name__ == "__main__":
    prepare(Folder(Path(sys.argv[1])))
