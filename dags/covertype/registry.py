"""MLflow: runs, registered models and their production alias."""

import importlib.metadata
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Read when MLflow is imported: nothing leaves the platform.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import mlflow
import mlflow.onnx
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from requests import RequestException

from covertype.dataset import Cuts
from covertype.errors import PipelineError
from covertype.export import FILE_NAME, ExportedModel, feature_schema, open_session

SCHEMA_KEY = "feature_schema"
CUTS_KEY = "held_out_cuts"
_MODEL_NAME_IN_RUN = "model"
_LIBRARIES = ("mlflow-skinny", "numpy", "onnx", "onnxruntime", "scikit-learn")


@dataclass(frozen=True)
class Tracking:
    """Where MLflow is, and the names used in it.

    Attributes:
        uri: Base address of the server.
        username: Of the pipeline's account.
        password: Of the pipeline's account.
        experiment: Where runs are recorded.
        model_name: The registered model.
        alias: Which of its versions the inference API serves.
    """

    uri: str
    username: str
    password: str = field(repr=False)
    experiment: str
    model_name: str
    alias: str


@dataclass(frozen=True)
class ServedModel:
    """A registered version, ready to predict.

    Attributes:
        version: Its number.
        session: The ONNX Runtime session.
        inputs: The inputs in its feature schema.
        cuts: Which rows were held out from it; empty if that was not recorded.
    """

    version: int
    session: Any
    inputs: list[dict[str, Any]]
    cuts: Cuts


class Registry:
    """One connection to MLflow.

    MLflow's client takes its credentials from the environment of the process; a task is a
    process of its own.
    """

    def __init__(self, tracking: Tracking) -> None:
        self._tracking = tracking
        os.environ["MLFLOW_TRACKING_USERNAME"] = tracking.username
        os.environ["MLFLOW_TRACKING_PASSWORD"] = tracking.password
        # The defaults wait for minutes; Airflow retries the task.
        os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "2"
        os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "60"
        mlflow.set_tracking_uri(tracking.uri)
        mlflow.set_registry_uri(tracking.uri)
        self._client = mlflow.MlflowClient()

    def check(self) -> None:
        """Check that MLflow answers and lets this account in.

        Raises:
            PipelineError: It does not.
        """
        with self._errors():
            self._client.search_registered_models(max_results=1)

    @contextmanager
    def run(self, name: str, parent: str | None = None) -> Iterator[str]:
        """Record a run; it is marked as failed if the block raises.

        Args:
            name: How it is called.
            parent: The id of the run it belongs to.

        Yields:
            The run's id.
        """
        with self._errors():
            mlflow.set_experiment(self._tracking.experiment)
            with mlflow.start_run(run_name=name, parent_run_id=parent) as active:
                _log_versions()
                yield str(active.info.run_id)

    @contextmanager
    def resume(self, run_id: str) -> Iterator[None]:
        """Go on with a run that another task has started."""
        with self._errors(), mlflow.start_run(run_id=run_id):
            _log_versions()
            yield

    def open_run(self, name: str) -> str:
        """Start a run that tasks to come will go on with, and return its id."""
        with self._errors():
            experiment = mlflow.set_experiment(self._tracking.experiment)
            run = self._client.create_run(experiment.experiment_id, run_name=name)
            return str(run.info.run_id)

    def log(self, params: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Record parameters and metrics in the run in progress."""
        mlflow.log_params(dict(params))
        mlflow.log_metrics(dict(metrics))

    def register(self, model: ExportedModel, cuts: Cuts, tags: Mapping[str, str]) -> int:
        """Log the model in the run in progress and register it as a new version.

        Args:
            model: The exported model.
            cuts: Which rows were held out from it.
            tags: Stored on the version.

        Returns:
            The version's number.

        Raises:
            PipelineError: MLflow refuses, or what it stores is not what was tested.
        """
        name = self._tracking.model_name
        info = mlflow.onnx.log_model(
            model.proto,
            name=_MODEL_NAME_IN_RUN,
            registered_model_name=name,
            # Found out by running the model in a new environment otherwise, which takes minutes.
            pip_requirements=[f"onnxruntime=={_version('onnxruntime')}"],
            metadata={
                SCHEMA_KEY: feature_schema(model.sha256),
                # As text: YAML readers need not keep 64-bit numbers whole.
                CUTS_KEY: {stratum: f"{cut:016x}" for stratum, cut in cuts.items()},
            },
            save_as_external_data=False,
        )
        version = int(info.registered_model_version or 0)
        for key, value in tags.items():
            self._client.set_model_version_tag(name, str(version), key, value)
        return version

    def production(self) -> int | None:
        """The version that carries the production alias, if any does."""
        with self._errors():
            try:
                found = self._client.get_model_version_by_alias(
                    self._tracking.model_name, self._tracking.alias
                )
            except MlflowException as error:
                if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    return None
                raise
            return int(found.version)

    def fetch(self, version: int) -> ServedModel:
        """Download a registered version and load it.

        Raises:
            PipelineError: It cannot be fetched, or was registered without a feature schema.
        """
        name = self._tracking.model_name
        with self._errors(), tempfile.TemporaryDirectory() as folder:
            path = Path(
                mlflow.artifacts.download_artifacts(
                    artifact_uri=f"models:/{name}/{version}", dst_path=folder
                )
            )
            metadata = Model.load(str(path)).metadata or {}
            try:
                inputs = metadata[SCHEMA_KEY]["inputs"]
                cuts = {key: int(cut, 16) for key, cut in metadata.get(CUTS_KEY, {}).items()}
                session = open_session((path / FILE_NAME).read_bytes())
            except (KeyError, TypeError, ValueError, OSError) as error:
                raise PipelineError(
                    f"Version {version} of {name} has no usable {SCHEMA_KEY} or {FILE_NAME} "
                    f"({error!r}), so nothing can be compared with it: set the alias "
                    f"{self._tracking.alias} to a version that this pipeline registered."
                ) from error
        return ServedModel(version, session, inputs, cuts)

    def promote(self, version: int) -> None:
        """Give the production alias to a version; one call, so it never lacks a holder."""
        with self._errors():
            self._client.set_registered_model_alias(
                self._tracking.model_name, self._tracking.alias, str(version)
            )

    def tag(self, version: int, tags: Mapping[str, str]) -> None:
        """Store tags on a version."""
        with self._errors():
            for key, value in tags.items():
                self._client.set_model_version_tag(
                    self._tracking.model_name, str(version), key, value
                )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (MlflowException, RequestException) as error:
            raise PipelineError(
                f"MLflow at {self._tracking.uri} refused or did not answer "
                f"({str(error)[:300]}): check that it runs, and the connection mlflow."
            ) from error


def _log_versions() -> None:
    mlflow.log_params({f"version_{library}": _version(library) for library in _LIBRARIES})


def _version(library: str) -> str:
    return importlib.metadata.version(library)
