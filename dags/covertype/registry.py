"""MLflow: runs, registered versions, and the aliases that say which of them is served."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# Read when MLflow is imported: no progress bars in task logs.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from requests import RequestException

from covertype import evidence, export
from covertype.errors import PipelineError
from covertype.evidence import Evidence
from covertype.export import ExportedModel, feature_schema
from covertype.gate import Contender
from covertype.provenance import Provenance, library_version

SCHEMA_KEY = "feature_schema"
_MODEL_NAME_IN_RUN = "model"
_KEY_TAG = "pipeline_key"
_PARENT_TAG = "mlflow.parentRunId"
_NOT_FOUND = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


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
        candidate_alias: Which of its versions may be served next: the inference API loads it
            aside while the gate decides, so that the change is at once.
        previous_alias: The version that a rollback brings back, which the inference API keeps
            loaded for the same reason.
    """

    uri: str
    username: str
    password: str = field(repr=False)
    experiment: str
    model_name: str
    alias: str
    candidate_alias: str
    previous_alias: str


@dataclass(frozen=True)
class Version:
    """A registered version.

    Attributes:
        number: Its number.
        created: When it was registered.
        metrics: The last figures of the run that made it.
        tags: What is stored on it.
    """

    number: int
    created: datetime
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


class Registry:
    """One connection to MLflow.

    MLflow's client takes its credentials from the environment of the process; a task is a
    process of its own.
    """

    def __init__(self, tracking: Tracking, provenance: Provenance) -> None:
        self.tracking = tracking
        self._provenance = provenance
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

    # --- runs

    @contextmanager
    def run(self, key: str, name: str, parent_key: str | None = None) -> Iterator[str]:
        """Record a run, or go on with the one that an earlier try of the same work began.

        It is marked as failed if the block raises.

        Args:
            key: What the work is, the same in each try and unique in the experiment.
            name: How the run is called.
            parent_key: The key of the run it belongs to.

        Yields:
            The run's id.
        """
        with self._errors():
            run_id = self.open_run(key, name, parent_key)
            with mlflow.start_run(run_id=run_id):
                yield run_id

    def open_run(self, key: str, name: str, parent_key: str | None = None) -> str:
        """Begin a run that others will go on with, or find it; returns its id.

        Args:
            key: As for ``run``.
            name: As for ``run``.
            parent_key: As for ``run``.

        Raises:
            PipelineError: There is no run with the parent's key.
        """
        with self._errors():
            experiment = mlflow.set_experiment(self.tracking.experiment).experiment_id
            tags = {_KEY_TAG: key, **self._provenance.tags()}
            found = self._find_run(key)
            if found:
                for tag, value in tags.items():
                    self._client.set_tag(found.info.run_id, tag, value)
                self._client.update_run(found.info.run_id, status="RUNNING")
                return str(found.info.run_id)
            if parent_key is not None:
                parent = self._find_run(parent_key)
                if parent is None:
                    raise PipelineError(
                        f"MLflow has no run {parent_key} in the experiment "
                        f"{self.tracking.experiment}: somebody removed it. Run the DAG again."
                    )
                tags[_PARENT_TAG] = parent.info.run_id
            return str(self._client.create_run(experiment, run_name=name, tags=tags).info.run_id)

    def fail_run(self, key: str) -> bool:
        """Mark a run as failed, with those of its nested runs that have not ended.

        Returns:
            Whether there is such a run.
        """
        with self._errors():
            run = self._find_run(key)
            if run is None:
                return False
            nested = self._search_runs(f"tags.`{_PARENT_TAG}` = '{run.info.run_id}'")
            for one in (run, *nested):
                if one.info.status == "RUNNING":
                    self._client.set_terminated(one.info.run_id, "FAILED")
            return True

    def log(self, params: Mapping[str, Any], metrics: Mapping[str, float], step: int = 0) -> None:
        """Record parameters and metrics in the run in progress."""
        mlflow.log_params(dict(params))
        mlflow.log_metrics(dict(metrics), step=step)

    def tag_run(self, tags: Mapping[str, str]) -> None:
        """Record what may differ from try to try in the run in progress."""
        mlflow.set_tags(dict(tags))

    def log_files(self, files: Mapping[str, bytes]) -> None:
        """Store files, by their path, with the run in progress."""
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            mlflow.log_artifacts(folder)

    # --- versions

    def register(
        self, model: ExportedModel, run_id: str, tags: Mapping[str, str], card: str
    ) -> int:
        """Log the model in the run in progress and register it as a new version.

        A run makes one version: where an earlier try has registered it already, that one is kept.

        Args:
            model: The exported model.
            run_id: The run in progress.
            tags: Stored on the version.
            card: The version's description, in Markdown.

        Returns:
            The version's number.
        """
        name = self.tracking.model_name
        version = self.version_of(run_id)
        if version is None:
            # Brings the ONNX flavour, a second of processor time that few tasks need.
            import mlflow.onnx

            info = mlflow.onnx.log_model(
                model.proto,
                name=_MODEL_NAME_IN_RUN,
                registered_model_name=name,
                # Found out by running the model in a new environment otherwise: minutes.
                pip_requirements=[f"onnxruntime=={library_version('onnxruntime')}"],
                metadata={SCHEMA_KEY: feature_schema(model.sha256)},
                save_as_external_data=False,
            )
            version = int(info.registered_model_version or 0)
        self.tag(version, tags)
        with self._errors():
            self._client.update_model_version(name, str(version), description=card)
        return version

    def version_of(self, run_id: str) -> int | None:
        """The version that a run has registered, if it has."""
        with self._errors():
            found = self._client.search_model_versions(f"run_id='{run_id}'")
            numbers = [int(one.version) for one in found if one.name == self.tracking.model_name]
            return min(numbers, default=None)

    def versions(self) -> list[Version]:
        """All registered versions, the newest first."""
        with self._errors():
            found = self._client.search_model_versions(f"name='{self.tracking.model_name}'")
            return sorted(
                (
                    Version(
                        int(one.version),
                        datetime.fromtimestamp(one.creation_timestamp / 1000, UTC),
                        self._client.get_run(one.run_id).data.metrics if one.run_id else {},
                        dict(one.tags),
                    )
                    for one in found
                ),
                key=lambda version: -version.number,
            )

    def fetch(self, version: int) -> Contender:
        """Download what the gate needs to know of a version.

        Raises:
            PipelineError: There is no such version, or MLflow does not answer.
        """
        name = self.tracking.model_name
        with self._errors(), tempfile.TemporaryDirectory() as folder:
            try:
                run_id = self._client.get_model_version(name, str(version)).run_id
            except MlflowException as error:
                if error.error_code in _NOT_FOUND:
                    raise PipelineError(
                        f"There is no version {version} of {name}: `make models` lists them."
                    ) from error
                raise
            path = Path(
                mlflow.artifacts.download_artifacts(f"models:/{name}/{version}", dst_path=folder)
            )
            file = path / export.FILE_NAME
            return Contender(
                version,
                file.read_bytes() if file.is_file() else b"",
                (Model.load(str(path)).metadata or {}).get(SCHEMA_KEY),
                self._evidence(run_id or "", folder),
            )

    def tag(self, version: int, tags: Mapping[str, str]) -> None:
        """Store tags on a version."""
        with self._errors():
            for key, value in tags.items():
                self._client.set_model_version_tag(
                    self.tracking.model_name, str(version), key, value
                )

    # --- aliases

    def production(self) -> int | None:
        """The version that carries the production alias, if any does."""
        # Searched for, since asking for the alias of a model that does not exist yet is answered
        # as a lack of rights.
        with self._errors():
            found = self._client.search_registered_models(f"name='{self.tracking.model_name}'")
            version = found[0].aliases.get(self.tracking.alias) if found else None
            return None if version is None else int(version)

    @contextmanager
    def announced(self, version: int) -> Iterator[None]:
        """Let a version carry the candidate alias while the block runs."""
        name, alias = self.tracking.model_name, self.tracking.candidate_alias
        with self._errors():
            self._client.set_registered_model_alias(name, alias, str(version))
        try:
            yield
        finally:
            with self._errors():
                self._client.delete_registered_model_alias(name, alias)

    def promote(self, version: int) -> None:
        """Give the production alias to a version; one call, so it never lacks a holder."""
        with self._errors():
            self._client.set_registered_model_alias(
                self.tracking.model_name, self.tracking.alias, str(version)
            )

    def keep_ready(self, version: int) -> None:
        """Give a version the alias of the one that a rollback brings back."""
        with self._errors():
            self._client.set_registered_model_alias(
                self.tracking.model_name, self.tracking.previous_alias, str(version)
            )

    def _evidence(self, run_id: str, folder: str) -> Evidence | None:
        """What the run that made a version has stored for the gate; None if nothing usable."""
        try:
            path = mlflow.artifacts.download_artifacts(
                run_id=run_id, artifact_path=evidence.FILE_NAME, dst_path=folder
            )
            return Evidence.load(Path(path).read_bytes())
        except (MlflowException, OSError, ValueError):
            # Whatever the cause, the gate cannot vouch for the version, and says so. A server that
            # does not answer has been noticed before.
            return None

    def _find_run(self, key: str) -> Run | None:
        return next(iter(self._search_runs(f"tags.{_KEY_TAG} = '{key}'")), None)

    def _search_runs(self, condition: str) -> list[Run]:
        experiment = self._client.get_experiment_by_name(self.tracking.experiment)
        if experiment is None:
            return []
        return list(self._client.search_runs([experiment.experiment_id], condition))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (MlflowException, RequestException) as error:
            raise PipelineError(
                f"MLflow at {self.tracking.uri} refused or did not answer "
                f"({str(error)[:300]}): check that it runs, and the connection mlflow."
            ) from error
