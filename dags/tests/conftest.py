"""What the tests need: real rows, and a Postgres, an MLflow and a data API of their own."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pandas as pd
import pytest
import requests

DAGS_FOLDER = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(DAGS_FOLDER))

# Read by Airflow when it is first imported, which the DAG tests do.
AIRFLOW_HOME = Path(tempfile.mkdtemp(prefix="covertype-airflow-"))
os.environ |= {
    "AIRFLOW_HOME": str(AIRFLOW_HOME),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS_FOLDER),
    "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{AIRFLOW_HOME}/airflow.db",
}

from servers import free_port, running_postgres  # noqa: E402

from covertype.audit import Audit  # noqa: E402
from covertype.budget import ServingCost  # noqa: E402
from covertype.candidates import Candidate  # noqa: E402
from covertype.database import Database  # noqa: E402
from covertype.dataset import Rows, Split, encode, split  # noqa: E402
from covertype.evidence import Evidence  # noqa: E402
from covertype.export import ExportedModel, export, feature_schema  # noqa: E402
from covertype.gate import Contender  # noqa: E402
from covertype.provenance import Provenance  # noqa: E402
from covertype.registry import Registry, Tracking  # noqa: E402
from covertype.schema import BATCHES, COLUMNS  # noqa: E402
from covertype.store import BATCH_COLUMN, CovertypeStore  # noqa: E402
from covertype.training import fit  # noqa: E402

SAMPLE = Path(__file__).parent / "data" / "covertype_sample.csv"


def pytest_unconfigure() -> None:
    shutil.rmtree(AIRFLOW_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def sample() -> pd.DataFrame:
    """3,000 real rows, 300 of each batch, with the batch's number."""
    frame = pd.read_csv(SAMPLE)
    frame[BATCH_COLUMN] = [batch for batch in BATCHES for _ in range(len(frame) // len(BATCHES))]
    return frame


@pytest.fixture(scope="session")
def rows(sample: pd.DataFrame) -> Rows:
    return encode(sample)


@pytest.fixture(scope="session")
def parts(rows: Rows) -> Split:
    return split(rows)


@pytest.fixture(scope="session")
def raw_batches(sample: pd.DataFrame) -> dict[int, list[list[str]]]:
    """The sample as the data API hands it out: lists of strings, by batch."""
    names = [column.name for column in COLUMNS]
    return {
        batch: sample.loc[sample[BATCH_COLUMN] == batch, names].astype(str).to_numpy().tolist()
        for batch in BATCHES
    }


# --- models -----------------------------------------------------------------------------------

# Fit to the sample, they pass all checks; the second is worse by more than noise.
GOOD = Candidate("good", "extra_trees", {"n_estimators": 31, "max_features": 0.4})
WORSE = Candidate("worse", "extra_trees", {"n_estimators": 5, "max_depth": 9, "max_features": 0.4})


@pytest.fixture(scope="session")
def good(parts: Split) -> ExportedModel:
    return export(fit(GOOD, parts.fit, threads=2), parts.test.features)


@pytest.fixture(scope="session")
def worse(parts: Split) -> ExportedModel:
    return export(fit(WORSE, parts.fit, threads=2), parts.test.features)


def cost_without_measuring(content: bytes, _: object) -> ServingCost:
    """In the place of ``budget.measure``, which starts a process for each model."""
    return ServingCost(float(len(content)), 100e6, 1.0, 20.0, 50.0)


def evidence_of(model: ExportedModel, parts: Split) -> Evidence:
    return Evidence(parts.fit.hashes, parts.test.features, model.expected)


def contender_of(model: ExportedModel, parts: Split, version: int = 1) -> Contender:
    """A version as MLflow would give it."""
    return Contender(
        version, model.content, feature_schema(model.sha256), evidence_of(model, parts)
    )


class SampleStore(CovertypeStore):
    """Reads the sample instead of a table."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    def read(self) -> pd.DataFrame:
        return self._frame


@pytest.fixture
def sample_store(sample: pd.DataFrame) -> SampleStore:
    return SampleStore(sample)


# --- Postgres ---------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def postgres() -> Iterator[Database]:
    """A server of its own with the pipeline's account: it may create in public, no more."""
    with running_postgres() as database:
        yield database


@pytest.fixture
def store(postgres: Database) -> CovertypeStore:
    """An empty store without a history."""
    store = CovertypeStore(postgres)
    store.create()
    with postgres.transaction() as cursor:
        cursor.execute(
            "TRUNCATE covertype, covertype_staging, covertype_staged_batches, covertype_loads, "
            "covertype_rejected"
        )
    return store


# --- MLflow -----------------------------------------------------------------------------------

PASSWORD = "a-password-for-tests-only"
ACCOUNT = "pipeline"


@dataclass(frozen=True)
class MlflowProcess:
    """The real tracking server on SQLite, on its way up.

    Attributes:
        url: Its address.
        process: It.
        log: What it prints.
    """

    url: str
    process: subprocess.Popen[bytes]
    log: Path


@pytest.fixture(scope="session", autouse=True)
def mlflow_process(request: pytest.FixtureRequest) -> Iterator[MlflowProcess | None]:
    """Started before all else, since it takes long to come up; None where no test needs it."""
    if not any("mlflow_server" in item.fixturenames for item in request.session.items):  # type: ignore[attr-defined]
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="covertype-mlflow-"))
    port = free_port()
    config = folder / "auth.ini"
    config.write_text(
        "[mlflow]\n"
        "default_permission = READ\n"
        f"database_uri = sqlite:///{folder}/auth.db\n"
        "admin_username = admin\n"
        f"admin_password = {PASSWORD}\n"
        # Checking a password costs the server 0.1 s; the tests make a hundred requests.
        "auth_cache_ttl_seconds = 600\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    environment = os.environ | {
        "MLFLOW_AUTH_CONFIG_PATH": str(config),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "for-tests-only",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth"),
                *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
                *("--backend-store-uri", f"sqlite:///{folder}/mlflow.db"),
                *("--artifacts-destination", str(folder / "artifacts")),
            ],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield MlflowProcess(f"http://127.0.0.1:{port}", process, folder / "log")
    finally:
        os.killpg(process.pid, 15)
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def mlflow_server(mlflow_process: MlflowProcess | None) -> Tracking:
    """The tracking server, and an account of it that is not an administrator."""
    assert mlflow_process is not None
    _wait_for(f"{mlflow_process.url}/health", mlflow_process)
    created = requests.post(
        f"{mlflow_process.url}/api/2.0/mlflow/users/create",
        json={"username": ACCOUNT, "password": PASSWORD},
        auth=("admin", PASSWORD),
        timeout=30,
    )
    created.raise_for_status()
    return Tracking(
        uri=mlflow_process.url,
        username=ACCOUNT,
        password=PASSWORD,
        experiment="covertype",
        model_name="modelo1",
        alias="production",
        candidate_alias="candidate",
        previous_alias="previous",
    )


def _wait_for(url: str, server: MlflowProcess, seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            requests.get(url, timeout=2).raise_for_status()
            return
        except requests.RequestException:
            time.sleep(0.2)
    pytest.fail(f"{url} did not come up:\n{server.log.read_text()[-3000:]}")


PROVENANCE = Provenance(commit="c0ffee", lock_sha256="10c4", pipeline_run="tests")


@pytest.fixture
def registry(mlflow_server: Tracking, request: pytest.FixtureRequest) -> Registry:
    """A registry whose model and experiment belong to one test."""
    name = request.node.name.replace("[", "-").replace("]", "")
    return Registry(replace(mlflow_server, experiment=name, model_name=name), PROVENANCE)


@pytest.fixture
def audit(postgres: Database, registry: Registry) -> Audit:
    """The decisions about that model."""
    return Audit(postgres, registry.tracking.model_name)


# --- data API ---------------------------------------------------------------------------------


@dataclass
class FakeDataApi:
    """Hands out the sample; each call gets the next batch.

    Attributes:
        batches: What there is.
        address: Host and port.
        position: How many batches were handed out.
        calls: Path and query of each request.
        fail: Status and body to answer instead.
    """

    batches: dict[int, list[list[str]]]
    address: tuple[str, int] = ("", 0)
    position: int = 0
    calls: list[str] = field(default_factory=list)
    fail: tuple[int, str] | None = None

    @property
    def url(self) -> str:
        return "http://{}:{}".format(*self.address)

    def answer(self, path: str) -> tuple[int, str]:
        self.calls.append(path)
        if self.fail:
            return self.fail
        parts = urlsplit(path)
        group = int(parse_qs(parts.query)["group_number"][0])
        if parts.path == "/restart_data_generation":
            self.position = 0
            return 200, json.dumps({"group_number": group})
        if self.position == len(self.batches):
            return 400, json.dumps({"detail": "All batches were given."})
        self.position += 1
        rows = self.batches[self.position]
        # Of the sample: it stands for a tenth.
        share = float(parse_qs(parts.query)["fraction"][0]) / 0.1
        return 200, json.dumps(
            {
                "group_number": group,
                "batch_number": self.position,
                "data": rows[: round(len(rows) * share)],
            }
        )


@pytest.fixture
def data_api(raw_batches: dict[int, list[list[str]]]) -> Iterator[FakeDataApi]:
    api = FakeDataApi(dict(raw_batches))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = api.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Seconds-To-Next-Batch", "0.01")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api.address = ("127.0.0.1", server.server_port)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
