"""MLflow as a registry: which versions exist, which is in production, where their files are.

The service asks MLflow's REST API directly. Importing ``mlflow-skinny``'s client costs 2.1 to
2.2 s of CPU and 82 MiB, urllib3 0.12 to 0.13 s and 25 MiB (whole process, Python 3.13,
mlflow-skinny 3.17.2, three runs each): with an eighth of a core that is 17 s against 1 s
before a replica can even look for its model.

Written against MLflow 3.17.2; see https://mlflow.org/docs/latest/rest-api.html.
"""

import base64
import math
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, urlsplit

import msgspec
import urllib3

_API = "/api/2.0/mlflow"
_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
_PAGE = 1000  # the most that registered-models/search allows
_CHUNK = 256 * 1024
_TIMEOUT = urllib3.Timeout(connect=2.0, read=10.0)
_MAX_DETAIL = 200

_Answer = TypeVar("_Answer")


class ModelVersion(msgspec.Struct, frozen=True):
    """A registered version of a model."""

    version: str
    created_ms: int
    run_id: str = ""


class RegisteredModel(msgspec.Struct, frozen=True):
    """A registered model with a version in production.

    Attributes:
        updated_ms: When a version was last added or deleted.
        production: The version that has the production alias.
        standby: The other versions that may soon be in production: those with a standby alias.
        metrics: The metrics of that version's training run; None when they are not known.
    """

    updated_ms: int
    production: str
    versions: dict[str, ModelVersion]
    metrics: dict[str, float] | None
    standby: tuple[str, ...] = ()


RegistryState = dict[str, RegisteredModel]
"""The registered models with a version in production, by name."""


class RegistryError(Exception):
    """The registry cannot be reached or did not answer as it should."""


class ArtifactError(Exception):
    """A version's files cannot be fetched, whatever the registry's health."""


class _Alias(msgspec.Struct):
    alias: str
    version: str


class _SearchedModel(msgspec.Struct):
    name: str
    last_updated_timestamp: int
    aliases: list[_Alias] = []


class _ModelPage(msgspec.Struct):
    registered_models: list[_SearchedModel] = []
    next_page_token: str = ""


class _SearchedVersion(msgspec.Struct):
    version: str
    creation_timestamp: int
    run_id: str = ""


class _VersionPage(msgspec.Struct):
    model_versions: list[_SearchedVersion] = []
    next_page_token: str = ""


class _DownloadUri(msgspec.Struct):
    artifact_uri: str


class _Metric(msgspec.Struct):
    key: str
    value: float | str  # protobuf's JSON spells NaN and the infinities as strings


class _RunData(msgspec.Struct):
    metrics: list[_Metric] = []


class _Run(msgspec.Struct):
    data: _RunData


class _RunAnswer(msgspec.Struct):
    run: _Run


class _NotFoundError(RegistryError):
    """The registry answered that there is no such thing."""


class Registry:
    """Client of one MLflow server. It is used by one thread.

    Args:
        uri: The server's address, with a path if it is served under one.
        username: User for basic authentication; empty for none.
        password: The user's password.
        alias: The alias that marks a version as being in production.
        standby_aliases: The aliases of versions that may soon be.
    """

    def __init__(
        self,
        uri: str,
        username: str,
        password: str,
        alias: str,
        standby_aliases: Collection[str] = (),
    ) -> None:
        self._uri = uri.rstrip("/")
        self._alias = alias
        self._standby_aliases = frozenset(standby_aliases)
        headers = {}
        if username:
            # Not urllib3.make_headers: it spells them in Latin-1, MLflow reads UTF-8.
            credentials = base64.b64encode(f"{username}:{password}".encode()).decode()
            headers["authorization"] = f"Basic {credentials}"
        self._http = urllib3.PoolManager(
            headers=headers,
            timeout=_TIMEOUT,
            retries=False,  # the next poll is the retry
        )

    def poll(self, known: RegistryState) -> RegistryState:
        """Return the present state: one call when nothing changed since ``known``.

        Args:
            known: What the last poll returned.

        Raises:
            RegistryError: The registry cannot be reached or refuses to answer.
        """
        state: RegistryState = {}
        for model in self._search_models():
            aliases = {alias.alias: alias.version for alias in model.aliases}
            production = aliases.get(self._alias)
            # A filter ends at a quote and nothing escapes one: MLflow cannot be asked for the
            # versions of a name that holds both kinds.
            if production is None or ("'" in model.name and '"' in model.name):
                continue
            before = known.get(model.name)
            unchanged = before is not None and before.updated_ms == model.last_updated_timestamp
            versions = before.versions if before and unchanged else self._versions(model.name)
            if production not in versions:
                # Registered or deleted between the two calls: the next poll sees it whole.
                if before is not None:
                    state[model.name] = before
                continue
            if before and before.versions.get(before.production) == versions[production]:
                metrics = before.metrics
            else:
                metrics = None
            if metrics is None:
                metrics = self._metrics(versions[production].run_id)
            standby = {
                version
                for alias, version in aliases.items()
                if alias in self._standby_aliases and version in versions
            }
            state[model.name] = RegisteredModel(
                model.last_updated_timestamp,
                production,
                versions,
                metrics,
                tuple(sorted(standby - {production}, key=int)),
            )
        return state

    def artifact_base(self, name: str, version: str) -> str:
        """Return the address of the folder with a version's files.

        Raises:
            RegistryError: The registry cannot be reached or refuses to answer.
            ArtifactError: The version is gone, or its files are not proxied by the server.
        """
        try:
            uri = self._get(
                _DownloadUri,
                f"{_API}/model-versions/get-download-uri",
                {"name": name, "version": version},
            ).artifact_uri
        except _NotFoundError as error:
            raise ArtifactError(f"the registry no longer has it: {error}") from error
        parts = urlsplit(uri)
        if parts.scheme != "mlflow-artifacts" or (
            parts.netloc and parts.netloc != urlsplit(self._uri).netloc
        ):
            raise ArtifactError(
                f"its files are at {uri}, not proxied by the registry's server: "
                "start it with --artifacts-destination and register the model anew"
            )
        return f"{self._uri}{_ARTIFACTS}/{quote(parts.path.strip('/'))}"

    def download(self, base: str, file: str, target: Path) -> None:
        """Write one of a version's files to ``target``.

        Args:
            base: What :meth:`artifact_base` returned.
            file: The file's name in that folder.
            target: Where to write it; an existing file is replaced.

        Raises:
            RegistryError: The registry cannot be reached, refuses, or breaks off.
            ArtifactError: There is no such file.
        """
        try:
            response = self._http.request("GET", f"{base}/{quote(file)}", preload_content=False)
            try:
                if response.status == 404:
                    raise ArtifactError(f"it has no file {file}")
                if response.status != 200:
                    raise RegistryError(_refusal(file, response.status, response.read(4096)))
                with target.open("wb") as output:
                    for chunk in response.stream(_CHUNK):
                        output.write(chunk)
            finally:
                response.close()
        except urllib3.exceptions.HTTPError as error:
            raise RegistryError(f"{file}: {_reason(error)}") from error

    def _search_models(self) -> Iterator[_SearchedModel]:
        token = ""
        while True:
            page = self._get(
                _ModelPage,
                f"{_API}/registered-models/search",
                {"max_results": str(_PAGE), "page_token": token},
            )
            yield from page.registered_models
            token = page.next_page_token
            if not token:
                return

    def _versions(self, name: str) -> dict[str, ModelVersion]:
        versions: dict[str, ModelVersion] = {}
        mark = '"' if "'" in name else "'"
        token = ""
        while True:
            page = self._get(
                _VersionPage,
                f"{_API}/model-versions/search",
                {
                    "filter": f"name={mark}{name}{mark}",
                    "max_results": str(_PAGE),
                    "page_token": token,
                },
            )
            for found in page.model_versions:
                versions[found.version] = ModelVersion(
                    found.version, found.creation_timestamp, found.run_id
                )
            token = page.next_page_token
            if not token:
                return versions

    def _metrics(self, run_id: str) -> dict[str, float]:
        if not run_id:
            return {}
        try:
            answer = self._get(_RunAnswer, f"{_API}/runs/get", {"run_id": run_id})
        except _NotFoundError:
            return {}  # the run was deleted; the version it made was not
        return {
            metric.key: metric.value
            for metric in answer.run.data.metrics
            if isinstance(metric.value, float) and math.isfinite(metric.value)
        }

    def _get(self, type_: type[_Answer], path: str, fields: dict[str, str]) -> _Answer:
        try:
            response = self._http.request(
                "GET",
                self._uri + path,
                fields={key: value for key, value in fields.items() if value},
            )
        except urllib3.exceptions.HTTPError as error:
            raise RegistryError(f"{self._uri}: {_reason(error)}") from error
        if response.status == 404:
            raise _NotFoundError(_refusal(path, response.status, response.data))
        if response.status != 200:
            raise RegistryError(_refusal(path, response.status, response.data))
        try:
            return msgspec.json.decode(response.data, type=type_)
        except ValueError as error:  # msgspec's errors and those of bytes that are no UTF-8
            raise RegistryError(f"{path} answered something else than expected: {error}") from error


def _refusal(what: str, status: int, body: bytes) -> str:
    text = f"{what} answered {status}: {body[:_MAX_DETAIL].decode('utf-8', 'replace')}"
    if status == 401:
        text += " (check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD)"
    elif status == 403:
        text += " (the user lacks the right, or the server's --allowed-hosts lacks this name)"
    return text


def _reason(error: urllib3.exceptions.HTTPError) -> str:
    return f"{type(error).__name__}: {error}"
