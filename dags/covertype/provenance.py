"""What a model was made with: the versions of libraries, the lock file, the commit."""

import importlib.metadata
from dataclasses import dataclass

_LIBRARIES = (
    *("mlflow-skinny", "numpy", "onnx", "onnxruntime", "optuna", "scikit-learn"),
    *("scipy", "threadpoolctl"),
)

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Provenance:
    """What a deployment says of itself.

    Attributes:
        commit: The commit of the repository that was deployed.
        lock_sha256: Of the lock file that the environment was made from, in hex.
        pipeline_run: The run of a DAG, or who works by hand.
    """

    commit: str
    lock_sha256: str
    pipeline_run: str

    def tags(self) -> dict[str, str]:
        """Everything as the tags of a run."""
        return {
            "mlflow.source.git.commit": self.commit,
            "lock_sha256": self.lock_sha256,
            "pipeline_run": self.pipeline_run,
            **{f"version_{library}": library_version(library) for library in _LIBRARIES},
        }


def library_version(library: str) -> str:
    """The installed version of a library."""
    return importlib.metadata.version(library)
