"""What the tests share: services that answer what a test says, and a description of them."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from status_page.checks import Observer
from status_page.description import Description, Link, Service

PASSWORD = "of-airflow"


@dataclass
class Services:
    """Everything that the observer asks.

    Attributes:
        statuses: what the services answer, by path; 200 where nothing is said.
        models: the inference API's list.
        runs: the runs of each DAG, the last one first.
        token: the one that Airflow takes.
        logins: how often somebody logged in.
        asked: the paths that were asked for.
    """

    statuses: dict[str, int] = field(default_factory=dict)
    models: list[dict[str, Any]] = field(default_factory=list)
    runs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    token: str = "first"
    logins: int = 0
    asked: list[str] = field(default_factory=list)

    async def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer a request as the service would."""
        path = request.url.path
        self.asked.append(path)
        if path in self.statuses:
            return httpx.Response(self.statuses[path])
        if path == "/models":
            return httpx.Response(200, json={"models": self.models})
        if path == "/auth/token":
            self.logins += 1
            right = PASSWORD in request.content.decode()
            return httpx.Response(201 if right else 401, json={"access_token": self.token})
        if path.startswith("/api/v2/dags/"):
            if request.headers["authorization"] != f"Bearer {self.token}":
                return httpx.Response(401)
            dag = path.split("/")[4]
            return httpx.Response(200, json={"dag_runs": self.runs.get(dag, [])[:1]})
        if path == "/slow":
            await asyncio.sleep(60)
        return httpx.Response(200, text="ok")


def description(*services: Service) -> Description:
    """A description with these services."""
    return Description(
        title="Platform <test>",
        services=services,
        model_url="http://api/models",
        model_name="modelo1",
        airflow_url="http://airflow",
        airflow_user="portal",
        dags=("Cargar_datos", "Procesa_data"),
        links=(Link("Documentation", "https://docs.example"),),
    )


def service(name: str, check: str) -> Service:
    """A service with a page."""
    return Service(name, f"what {name} is for", f"https://{name}.example", "1.2", check)


@pytest.fixture
def services() -> Services:
    return Services(models=[{"name": "modelo1", "version": 7, "metrics": {"accuracy": 0.94}}])


@pytest.fixture
def client(services: Services) -> Iterator[httpx.AsyncClient]:
    yield httpx.AsyncClient(transport=httpx.MockTransport(services.answer))


def observer(client: httpx.AsyncClient, *described: Service) -> Observer:
    """An observer of these services, which looks anew each time."""
    return Observer(description(*described), PASSWORD, client, interval=0)
