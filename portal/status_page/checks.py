"""Asks the services how they are, for as long as somebody wants to know."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx

from status_page.description import Description, Service

# A service that takes longer is not well enough to be used.
PATIENCE_SECONDS = 4.0
_FAILED_STATUS = 400


@dataclass(frozen=True)
class Health:
    """How a service was at the last look.

    Attributes:
        well: whether it answered as it should.
        detail: what was wrong, empty if nothing was.
        milliseconds: how long the answer took.
    """

    well: bool
    detail: str
    milliseconds: float


@dataclass(frozen=True)
class Model:
    """The model in production.

    Attributes:
        name: the model.
        version: its version.
        metrics: its figures on rows that no training saw.
    """

    name: str
    version: str
    metrics: dict[str, float]


@dataclass(frozen=True)
class DagRun:
    """The last run of a DAG.

    Attributes:
        dag: the DAG.
        state: Airflow's word, `never ran` where there is none.
        ended: when it ended, empty before that.
    """

    dag: str
    state: str
    ended: str


@dataclass
class Status:
    """All that is known.

    Attributes:
        looked_at: when.
        health: of each service, by its name.
        model: the model in production, None where there is none or nobody knows.
        model_problem: why nobody knows, empty otherwise.
        runs: the last run of each DAG.
        runs_problem: why nobody knows, empty otherwise.
    """

    looked_at: str = ""
    health: dict[str, Health] = field(default_factory=dict)
    model: Model | None = None
    model_problem: str = ""
    runs: list[DagRun] = field(default_factory=list)
    runs_problem: str = ""

    @property
    def well(self) -> bool:
        """Whether everything is as it should be."""
        services = all(health.well for health in self.health.values())
        return bool(self.health) and services and not (self.model_problem or self.runs_problem)

    def report(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {"well": self.well, **asdict(self)}


class Observer:
    """Knows the status for those who ask.

    Nobody is asked while nobody wants to know: to answer takes the services processor time, which
    predictions would wait for.

    Args:
        description: whom to ask.
        airflow_password: of the user who asks Airflow.
        client: sends requests.
        interval: seconds for which what was found is told again.
    """

    def __init__(
        self,
        description: Description,
        airflow_password: str,
        client: httpx.AsyncClient,
        interval: float,
    ) -> None:
        self._description = description
        self._airflow_password = airflow_password
        self._airflow_token = ""
        self._client = client
        self._interval = interval
        self._status = Status()
        self._looked = -math.inf
        # Many who ask at the same time wait for the same look.
        self._looking = asyncio.Lock()

    async def status(self) -> Status:
        """How everything is, or was less than an interval ago."""
        async with self._looking:
            if time.monotonic() - self._looked >= self._interval:
                self._status = await self.look()
                self._looked = time.monotonic()
        return self._status

    async def look(self) -> Status:
        """Ask everything once, all at the same time."""
        status = Status()
        services = self._description.services

        async def look_at_services() -> None:
            found = await asyncio.gather(*(self._health(service) for service in services))
            status.health = {
                service.name: health for service, health in zip(services, found, strict=True)
            }

        async def look_at_model() -> None:
            status.model = await self._model()

        async def look_at_runs() -> None:
            status.runs = await self._runs()

        _, status.model_problem, status.runs_problem = await asyncio.gather(
            look_at_services(), _problem_of(look_at_model), _problem_of(look_at_runs)
        )
        status.looked_at = datetime.now(UTC).isoformat(timespec="seconds")
        return status

    async def _health(self, service: Service) -> Health:
        began = time.monotonic()
        address = urlsplit(service.check)

        async def ask() -> None:
            if address.scheme == "tcp":
                _, writer = await asyncio.open_connection(address.hostname, address.port)
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
            else:
                answer = await self._client.get(service.check)
                if answer.status_code >= _FAILED_STATUS:
                    raise httpx.HTTPError(f"status {answer.status_code}")

        problem = await _problem_of(ask)
        return Health(not problem, problem, round((time.monotonic() - began) * 1000, 1))

    async def _model(self) -> Model | None:
        answer = await self._client.get(self._description.model_url)
        answer.raise_for_status()
        for model in answer.json()["models"]:
            if model["name"] == self._description.model_name:
                return Model(model["name"], str(model["version"]), model["metrics"])
        return None

    async def _runs(self) -> list[DagRun]:
        return [await self._last_run(dag) for dag in self._description.dags]

    async def _last_run(self, dag: str) -> DagRun:
        path = f"/api/v2/dags/{dag}/dagRuns?order_by=-run_after&limit=1"
        answer = await self._ask_airflow(path)
        if answer.status_code in (401, 403):  # the token has expired
            self._airflow_token = ""
            answer = await self._ask_airflow(path)
        answer.raise_for_status()
        runs = answer.json()["dag_runs"]
        if not runs:
            return DagRun(dag, "never ran", "")
        return DagRun(dag, runs[0]["state"], runs[0]["end_date"] or "")

    async def _ask_airflow(self, path: str) -> httpx.Response:
        base = self._description.airflow_url
        if not self._airflow_token:
            login = {
                "username": self._description.airflow_user,
                "password": self._airflow_password,
            }
            answer = await self._client.post(f"{base}/auth/token", json=login)
            answer.raise_for_status()
            self._airflow_token = answer.json()["access_token"]
        headers = {"Authorization": f"Bearer {self._airflow_token}"}
        return await self._client.get(f"{base}{path}", headers=headers)


async def _problem_of(work: Callable[[], Awaitable[None]]) -> str:
    """Do something in time; tell what went wrong, or nothing."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await work()
    except TimeoutError:
        return f"no answer within {PATIENCE_SECONDS:.0f} s"
    except httpx.HTTPStatusError as error:
        return f"status {error.response.status_code}"
    except (OSError, httpx.HTTPError, ValueError, KeyError) as error:
        return str(error) or type(error).__name__
    return ""
