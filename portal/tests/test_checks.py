import asyncio

import httpx
import pytest

from status_page import checks
from status_page.checks import DagRun, Model, Observer
from tests.conftest import PASSWORD, Services, description, observer, service

ENDED = "2026-11-27T05:00:00Z"


def test_everything_well(services: Services, client: httpx.AsyncClient) -> None:
    services.runs["Cargar_datos"] = [{"state": "success", "end_date": ENDED}]
    status = asyncio.run(observer(client, service("mlflow", "http://mlflow/health")).look())
    assert status.well
    assert status.health["mlflow"].well
    assert status.model == Model("modelo1", "7", {"accuracy": 0.94})
    assert status.runs == [
        DagRun("Cargar_datos", "success", ENDED),
        DagRun("Procesa_data", "never ran", ""),
    ]
    assert status.report()["well"] is True


def test_nobody_is_asked_again_within_the_interval(
    services: Services, client: httpx.AsyncClient
) -> None:
    described = description(service("mlflow", "http://mlflow/health"))

    async def look_often(interval: float) -> int:
        services.asked.clear()
        observer = Observer(described, PASSWORD, client, interval)
        # Without a question there is no look.
        await asyncio.sleep(0.05)
        assert services.asked == []
        found = await asyncio.gather(*(observer.status() for _ in range(5)))
        assert all(status.well for status in found)
        return services.asked.count("/health")

    assert asyncio.run(look_often(60)) == 1
    assert asyncio.run(look_often(0)) == 5


def test_one_that_fails_is_told_with_its_reason(
    services: Services, client: httpx.AsyncClient
) -> None:
    services.statuses["/health"] = 503
    status = asyncio.run(
        observer(client, service("a", "http://a/health"), service("b", "http://b/")).look()
    )
    assert not status.well
    assert status.health["a"].detail == "status 503"
    assert status.health["b"].well


def test_one_that_hangs_holds_nobody_up(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "PATIENCE_SECONDS", 0.1)
    status = asyncio.run(
        observer(client, service("a", "http://a/slow"), service("b", "http://b/")).look()
    )
    assert "no answer within" in status.health["a"].detail
    assert status.health["b"].well


def test_a_database_is_asked_for_a_connection(client: httpx.AsyncClient) -> None:
    async def look() -> tuple[bool, bool]:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        database = service("database", f"tcp://127.0.0.1:{port}")
        async with server:
            there = (await observer(client, database).look()).health["database"].well
        gone = (await observer(client, database).look()).health["database"].well
        return there, gone

    assert asyncio.run(look()) == (True, False)


def test_no_model_is_no_problem_and_no_answer_is_one(
    services: Services, client: httpx.AsyncClient
) -> None:
    services.models = []
    status = asyncio.run(observer(client, service("b", "http://b/")).look())
    assert status.model is None
    assert status.well
    services.statuses["/models"] = 502
    status = asyncio.run(observer(client, service("b", "http://b/")).look())
    assert status.model_problem == "status 502"
    assert not status.well


def test_logs_in_once_and_again_when_the_token_has_expired(
    services: Services, client: httpx.AsyncClient
) -> None:
    async def look() -> None:
        observing = observer(client)
        await observing.look()
        await observing.look()
        assert services.logins == 1
        services.token = "second"
        assert not (await observing.look()).runs_problem
        assert services.logins == 2

    asyncio.run(look())


def test_a_refused_login_is_told(client: httpx.AsyncClient) -> None:
    refused = Observer(description(), "wrong", client, interval=0)
    assert asyncio.run(refused.look()).runs_problem == "status 401"
