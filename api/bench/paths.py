"""Where the benchmark's files are."""

from dataclasses import dataclass
from pathlib import Path

API = Path(__file__).resolve().parents[1]
REPOSITORY = API.parent
RESULTS = API / "bench" / "results"
README = API / "bench" / "README.md"


@dataclass(frozen=True)
class Folder:
    """The folder with the model and the requests.

    Attributes:
        path: Where it is.
    """

    path: Path

    @property
    def ready(self) -> Path:
        """It is there once all the others are."""
        return self.path / "ready"

    @property
    def graph(self) -> Path:
        """The model as ONNX; its ``MLmodel`` file is beside it."""
        return self.path / "model.onnx"

    @property
    def estimator(self) -> Path:
        """The model for scikit-learn."""
        return self.path / "estimator.joblib"

    @property
    def mlflow_model(self) -> Path:
        """The folder with the model for MLflow."""
        return self.path / "mlflow_model"

    @property
    def rows(self) -> Path:
        """Held-out rows: float32 [rows, inputs]."""
        return self.path / "rows.npy"

    @property
    def mlflow_bodies(self) -> Path:
        """The same rows as bodies for MLflow, one a line."""
        return self.path / "mlflow.jsonl"

    def bodies(self, rows: int) -> Path:
        """Bodies of so many rows each, one a line."""
        return self.path / f"rows_{rows}.jsonl"
