"""Code tests of the data API's client."""

import json

import pytest
from servers import free_port

from conftest import FakeDataApi
from covertype.errors import PipelineError
from covertype.source import DataSource


def test_a_batch_is_fetched_for_the_group(data_api: FakeDataApi) -> None:
    batch = DataSource(data_api.url, group=7, fraction=0.1).fetch()
    assert (batch.number, len(batch.rows), batch.seconds_left) == (1, 300, 0.01)
    assert data_api.calls == ["/data?group_number=7&fraction=0.1"]


def test_restart_starts_the_group_again(data_api: FakeDataApi) -> None:
    source = DataSource(data_api.url, group=1, fraction=0.1)
    source.fetch()
    source.restart()
    assert source.fetch().number == 1


def test_exhausted_says_how_to_start_again(data_api: FakeDataApi) -> None:
    data_api.position = 10
    with pytest.raises(PipelineError, match=r"group 3 no more data .* Borrar_datos"):
        DataSource(data_api.url, group=3, fraction=0.1).fetch()


def test_nothing_there_says_what_to_start() -> None:
    with pytest.raises(PipelineError, match=r"does not answer .* start it"):
        DataSource(f"http://127.0.0.1:{free_port()}", group=1, fraction=0.1).fetch()


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (500, "oops", "answered 500 .*oops"),
        (200, "<html>", "something else than a batch"),
        (200, json.dumps({"batch_number": 1}), "something else than a batch"),
        (200, json.dumps([1, 2]), "something else than a batch"),
        (200, json.dumps({"batch_number": 1, "data": []}), "batch 1 without rows"),
        (200, json.dumps({"batch_number": 1, "data": "x"}), "batch 1 without rows"),
    ],
)
def test_other_answers_are_refused(
    data_api: FakeDataApi, status: int, body: str, message: str
) -> None:
    data_api.fail = (status, body)
    with pytest.raises(PipelineError, match=message):
        DataSource(data_api.url, group=1, fraction=0.1).fetch()
