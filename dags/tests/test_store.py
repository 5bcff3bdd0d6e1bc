"""Code tests of the table and of loading, on a real Postgres."""

import threading
from dataclasses import replace
from typing import Any

import psycopg2
import pytest

from conftest import FakeDataApi
from covertype import store as store_module
from covertype.errors import PipelineError
from covertype.loading import load
from covertype.schema import BATCHES, COLUMNS, Row, parse_rows
from covertype.source import DataSource
from covertype.store import CovertypeStore, Database

Batches = dict[int, list[list[str]]]


def query(database: Database, statement: str) -> list[tuple[Any, ...]]:
    with psycopg2.connect(
        host=database.host, port=database.port, dbname=database.name, user=database.user
    ) as connection:
        cursor = connection.cursor()
        cursor.execute(statement)
        rows: list[tuple[Any, ...]] = cursor.fetchall() if cursor.description else []
    connection.close()
    return rows


@pytest.fixture
def parsed(raw_batches: Batches) -> dict[int, list[Row]]:
    return {batch: parse_rows(rows) for batch, rows in raw_batches.items()}


def fill(store: CovertypeStore, parsed: dict[int, list[Row]]) -> None:
    for batch, rows in parsed.items():
        store.stage(batch, rows)
    store.publish()


def test_the_table_has_typed_columns_in_order(store: CovertypeStore, postgres: Database) -> None:
    found = query(
        postgres,
        "SELECT column_name, data_type FROM information_schema.columns "
        "WHERE table_schema = 'public' AND table_name = 'covertype' ORDER BY ordinal_position",
    )
    assert found == [(column.sql_name, column.sql_type) for column in COLUMNS] + [
        ("batch_number", "smallint"),
        ("loaded_at", "timestamp with time zone"),
    ]


def test_rows_come_back_as_they_were(store: CovertypeStore, parsed: dict[int, list[Row]]) -> None:
    fill(store, parsed)
    frame = store.read()
    read = frame.itertuples(index=False, name=None)
    assert sorted(read) == sorted((*row, batch) for batch, rows in parsed.items() for row in rows)


def test_loading_twice_leaves_one_set_of_rows(store: CovertypeStore, data_api: FakeDataApi) -> None:
    source = DataSource(data_api.url, group=1)
    assert load(source, store) == dict.fromkeys(BATCHES, 300)
    source.restart()
    load(source, store)
    assert {batch: state.rows for batch, state in store.status().items()} == dict.fromkeys(
        BATCHES, 300
    )


def test_a_batch_given_twice_is_stored_once(store: CovertypeStore, data_api: FakeDataApi) -> None:
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        if len(waits) == 3:
            data_api.position -= 1
        waits.append(seconds)

    counts = load(DataSource(data_api.url, group=1), store, sleep)
    assert counts == dict.fromkeys(BATCHES, 300)
    assert waits == [0.01] * 10


def test_an_interrupted_load_leaves_the_table_and_is_gone_on_with(
    store: CovertypeStore, data_api: FakeDataApi, parsed: dict[int, list[Row]]
) -> None:
    fill(store, {batch: rows[:7] for batch, rows in parsed.items()})
    source = DataSource(data_api.url, group=1)

    def sleep(_: float) -> None:
        if data_api.position == 4:
            data_api.fail = (500, "broken")

    with pytest.raises(PipelineError, match="answered 500"):
        load(source, store, sleep)
    assert {state.rows for state in store.status().values()} == {7}
    data_api.fail = None
    assert load(source, store) == dict.fromkeys(BATCHES, 300)
    assert {state.rows for state in store.status().values()} == {300}


def test_an_exhausted_source_leaves_the_table(
    store: CovertypeStore, data_api: FakeDataApi, parsed: dict[int, list[Row]]
) -> None:
    fill(store, parsed)
    before = store.status()
    data_api.position = 10
    with pytest.raises(PipelineError, match="Borrar_datos"):
        load(DataSource(data_api.url, group=1), store)
    after = store.status()
    assert {k: replace(v, age=before[k].age) for k, v in after.items()} == before


def test_batches_missed_by_the_load_are_named(
    store: CovertypeStore, data_api: FakeDataApi, parsed: dict[int, list[Row]]
) -> None:
    fill(store, parsed)
    data_api.position = 3
    with pytest.raises(PipelineError, match="Batches 1, 2, 3 were not loaded"):
        load(DataSource(data_api.url, group=1), store)
    assert set(store.status()) == set(BATCHES)


def test_a_source_that_does_not_move_on_is_given_up(
    store: CovertypeStore, data_api: FakeDataApi
) -> None:
    def sleep(_: float) -> None:
        data_api.position = 0

    with pytest.raises(PipelineError, match="no batch 10"):
        load(DataSource(data_api.url, group=1), store, sleep)
    assert store.status() == {}


def test_a_batch_that_postgres_refuses_leaves_the_staged_one(
    store: CovertypeStore, postgres: Database, parsed: dict[int, list[Row]]
) -> None:
    store.stage(1, parsed[1])
    bad = [*parsed[1][:10], (*parsed[1][10][:-1], 9)]
    with pytest.raises(PipelineError, match="Postgres refused"):
        store.stage(1, bad)
    assert query(postgres, "SELECT count(*) FROM covertype_staging") == [(300,)]


def test_two_loads_at_once_leave_no_duplicates(
    store: CovertypeStore, postgres: Database, parsed: dict[int, list[Row]]
) -> None:
    threads = [threading.Thread(target=store.stage, args=(1, parsed[1])) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert query(postgres, "SELECT count(*) FROM covertype_staging") == [(300,)]


def test_clear_empties_and_counts(store: CovertypeStore, parsed: dict[int, list[Row]]) -> None:
    fill(store, parsed)
    assert store.clear() == 3000
    assert store.clear() == 0
    assert store.status() == {}


def test_training_needs_the_table(store: CovertypeStore, postgres: Database) -> None:
    query(postgres, "DROP TABLE covertype")
    with pytest.raises(PipelineError, match="does not exist: run the DAG Cargar_datos"):
        store.require_current()
    with pytest.raises(PipelineError, match="does not exist"):
        store.read()


def test_training_needs_all_batches(
    store: CovertypeStore, postgres: Database, parsed: dict[int, list[Row]]
) -> None:
    with pytest.raises(PipelineError, match="no rows: run the DAG Cargar_datos"):
        store.read()
    fill(store, parsed)
    query(postgres, "DELETE FROM covertype WHERE batch_number IN (4, 9)")
    with pytest.raises(PipelineError, match="no rows of the batches 4, 9"):
        store.require_current()


def test_training_needs_a_current_load(
    store: CovertypeStore, postgres: Database, parsed: dict[int, list[Row]]
) -> None:
    fill(store, parsed)
    assert set(store.require_current()) == set(BATCHES)
    query(postgres, "UPDATE covertype SET loaded_at = loaded_at - interval '25 hours'")
    with pytest.raises(PipelineError, match="older than 24 hours"):
        store.require_current()


def test_a_database_that_is_not_there_is_named(postgres: Database) -> None:
    absent = CovertypeStore(replace(postgres, name="absent"))
    with pytest.raises(PipelineError, match=r"absent.*connection\s+covertype_postgres"):
        absent.status()


def test_the_password_is_not_shown() -> None:
    assert "secret" not in repr(store_module.Database("h", 1, "n", "u", "secret"))
