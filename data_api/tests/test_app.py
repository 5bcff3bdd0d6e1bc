import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from covertype_source.app import create_app
from covertype_source.batches import BATCH_COUNT, GROUP_COUNT, batch_rows
from covertype_source.dataset import DatasetError
from covertype_source.progress import GroupProgress, StateUnavailableError
from covertype_source.schemas import Batch
from covertype_source.settings import Settings
from tests.fakes import BATCH_SECONDS, ROW_COUNT, Clock

GROUP_ENDPOINTS = ["/data", "/restart_data_generation"]


def get_batch(client: TestClient, group_number: int) -> dict[str, Any]:
    response = client.get("/data", params={"group_number": group_number})
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def positions(batch: dict[str, Any]) -> list[int]:
    """Gives the positions of the rows in the made data set: their first value."""
    return [int(row[0]) for row in batch["data"]]


def test_body_of_a_batch(client: TestClient) -> None:
    batch = get_batch(client, 7)

    assert list(batch) == ["group_number", "batch_number", "data"]
    assert batch["group_number"] == 7
    assert batch["batch_number"] == 1
    assert len(batch["data"]) == 10
    for row in batch["data"]:
        assert len(row) == 13
        assert all(isinstance(value, str) for value in row)


def test_headers_of_a_batch(client: TestClient, clock: Clock) -> None:
    get_batch(client, 1)
    clock.now += 1.2345678

    headers = client.get("/data?group_number=1").headers

    assert headers["content-type"] == "application/json"
    assert headers["cache-control"] == "no-store"
    # Rounded up: who waits for so long is not too early.
    assert headers["x-seconds-to-next-batch"] == "3.766"


@pytest.mark.parametrize("group_number", range(1, GROUP_COUNT + 1))
def test_every_batch_is_a_tenth_of_its_own_slice(
    client: TestClient, clock: Clock, group_number: int
) -> None:
    for batch_number in range(1, BATCH_COUNT + 1):
        batch = get_batch(client, group_number)
        assert batch["batch_number"] == batch_number
        rows = batch_rows(ROW_COUNT, batch_number)
        drawn = positions(batch)
        assert len(drawn) == len(set(drawn)) == len(rows) // 10
        assert set(drawn) <= set(rows)
        clock.now += BATCH_SECONDS


def test_calls_within_a_batch_draw_again(client: TestClient, clock: Clock) -> None:
    drawn = []
    for _ in range(5):
        batch = get_batch(client, 1)
        assert batch["batch_number"] == 1
        drawn.append(frozenset(positions(batch)))
        clock.now += BATCH_SECONDS / 6

    assert len(set(drawn)) > 1


@pytest.mark.parametrize(("fraction", "count"), [("1", 100), ("1.0", 100), ("0.25", 25)])
def test_another_fraction_of_a_batch(client: TestClient, fraction: str, count: int) -> None:
    answer = client.get("/data", params={"group_number": 1, "fraction": fraction})

    drawn = positions(answer.json())
    assert len(drawn) == len(set(drawn)) == count
    assert set(drawn) <= set(batch_rows(ROW_COUNT, 1))


@pytest.mark.parametrize("fraction", ["0", "-0.1", "1.01", "all", "nan", "inf", ""])
def test_wrong_fraction_is_refused(client: TestClient, fraction: str) -> None:
    response = client.get("/data", params={"group_number": 1, "fraction": fraction})

    assert response.status_code == 400
    assert response.json()["detail"] == (
        f"fraction must be a number above 0 and at most 1; it is {fraction!r}."
    )


@pytest.mark.parametrize("written_as", ["2", "2.0", "+2", " 2"])
def test_exhausted_group_is_told_how_to_restart(
    client: TestClient, clock: Clock, written_as: str
) -> None:
    for _ in range(BATCH_COUNT):
        get_batch(client, 2)
        clock.now += BATCH_SECONDS

    response = client.get("/data", params={"group_number": written_as})

    assert response.status_code == 400
    detail = response.json()["detail"]
    assert "Group 2 has had all 10 batches" in detail
    assert get_batch(client, 3)["batch_number"] == 1  # another group goes on

    restarted = client.get(detail.split("GET ")[1])
    assert restarted.status_code == 200
    assert restarted.headers["cache-control"] == "no-store"
    assert "Group 2" in restarted.json()["message"]
    assert get_batch(client, 2)["batch_number"] == 1


def test_restart_leaves_the_other_groups(client: TestClient, clock: Clock) -> None:
    for group_number in (1, 2):
        get_batch(client, group_number)
    clock.now += BATCH_SECONDS
    for group_number in (1, 2):
        get_batch(client, group_number)

    client.get("/restart_data_generation?group_number=1")

    assert get_batch(client, 1)["batch_number"] == 1
    assert get_batch(client, 2)["batch_number"] == 2


@pytest.mark.parametrize("path", GROUP_ENDPOINTS)
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", "missing"),
        ("?group=1", "missing"),
        ("?group_number=", "''"),
        ("?group_number=0", "'0'"),
        ("?group_number=11", "'11'"),
        ("?group_number=-1", "'-1'"),
        ("?group_number=1.5", "'1.5'"),
        ("?group_number=nan", "'nan'"),
        ("?group_number=one", "'one'"),
        ("?group_number=1;DROP", "'1;DROP'"),
        ("?group_number=%00%FF", "'"),
        ("?group_number=" + "9" * 30, "'999"),
        ("?group_number=" + "9" * 5_000, "(5000 characters)"),
    ],
)
def test_wrong_group_number_is_refused(
    client: TestClient, path: str, query: str, found: str
) -> None:
    response = client.get(path + query)

    assert response.status_code == 400
    detail = response.json()["detail"]
    assert "group_number must be a whole number from 1 to 10" in detail
    assert found in detail
    assert len(detail) < 150


def test_state_survives_a_restart_of_the_service(settings: Settings, clock: Clock) -> None:
    with TestClient(create_app(settings, clock=clock)) as client:
        get_batch(client, 4)
        clock.now += BATCH_SECONDS
        get_batch(client, 4)

    with TestClient(create_app(settings, clock=clock)) as client:
        assert get_batch(client, 4)["batch_number"] == 2


def test_live_and_ready(client: TestClient) -> None:
    assert client.get("/health/live").json() == {"status": "live"}
    assert client.get("/health/ready").json() == {"status": "ready", "rows": ROW_COUNT}


def test_unwritable_state_is_answered_with_503(settings: Settings, clock: Clock) -> None:
    app = create_app(settings, clock=clock)
    with TestClient(app) as client:
        app.state.source.progress._connection.execute("PRAGMA query_only = ON")

        for path in ("/health/ready", *(f"{path}?group_number=1" for path in GROUP_ENDPOINTS)):
            response = client.get(path)
            assert response.status_code == 503, path
            assert "Check that its directory is writable" in response.json()["detail"]
        assert client.get("/health/live").status_code == 200


def test_unexpected_error_is_json(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GroupProgress, "current_batch", lambda *_: 1 / 0)

    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        response = client.get("/data?group_number=1")

    assert response.status_code == 500
    assert "unexpected error" in response.json()["detail"]


def test_does_not_start_without_data(settings: Settings, tmp_path: Path) -> None:
    broken = settings.model_copy(update={"data_dir": tmp_path / "none"})

    with pytest.raises(DatasetError, match="none"), TestClient(create_app(broken)):
        pass


def test_does_not_start_without_state(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    broken = settings.model_copy(update={"state_dir": tmp_path / "file"})

    with pytest.raises(StateUnavailableError, match="file"), TestClient(create_app(broken)):
        pass


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("POST", "/data?group_number=1", 405),
    ],
)
def test_what_does_not_exist_is_answered_in_json(
    client: TestClient, method: str, path: str, status: int
) -> None:
    response = client.request(method, path)

    assert response.status_code == status
    assert list(response.json()) == ["detail"]


def test_overview_names_addresses_that_answer(client: TestClient) -> None:
    overview = client.get("/").json()

    assert overview["columns"][0] == "Elevation"
    assert overview["columns"][-1] == "Cover_Type"
    for path in overview["endpoints"]:
        assert client.get(path).status_code == 200, path


def test_documentation_needs_no_other_host(client: TestClient) -> None:
    page = client.get("/docs").text

    addresses = re.findall(r"""(?:src|href)=["']([^"']+)""", page)
    assert len(addresses) >= 2
    for address in addresses:
        assert address.startswith("/")
        assert client.get(address).status_code == 200, address


def test_openapi_says_what_is_answered(client: TestClient) -> None:
    document = client.get("/openapi.json").json()

    for path in GROUP_ENDPOINTS:
        operation = document["paths"][path]["get"]
        parameters = {parameter["name"]: parameter for parameter in operation["parameters"]}
        group = parameters.pop("group_number")
        assert group["required"]
        assert (group["schema"]["minimum"], group["schema"]["maximum"]) == (1, 10)
        if path == "/data":
            fraction = parameters.pop("fraction")
            assert not fraction["required"]
            assert fraction["schema"]["default"] == 0.1
        assert parameters == {}
        assert set(operation["responses"]) == {"200", "400", "default"}
    assert (
        "X-Seconds-To-Next-Batch"
        in document["paths"]["/data"]["get"]["responses"]["200"]["headers"]
    )
    Batch.model_validate(get_batch(client, 1))
