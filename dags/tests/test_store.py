"""Code tests of the table and of loading, on a real Postgres."""

import json
import threading
from dataclasses import replace
from typing import Any

import psycopg2
import pytest

from conftest import FakeDataApi
from covertype.database import Database
from covertype.errors import PipelineError
from covertype.loading import load
from covertype.schema import BATCHES, COLUMNS
from covertype.source import DataSource
from covertype.store import CovertypeStore, LoadedBatch
from covertype.validation import CheckedRows, check_rows

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


def row_counts(loaded: dict[int, LoadedBatch]) -> dict[int, int]:
    return {batch: part.rows for batch, part in loaded.items()}


@pytest.fixture
def checked(raw_batches: Batches) -> dict[int, CheckedRows]:
    return {batch: check_rows(rows) for batch, rows in raw_batches.items()}


def fill(store: CovertypeStore, checked: dict[int, CheckedRows]) -> None:
    for batch, rows in checked.items():
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


def test_rows_come_back_as_they_were(
    store: CovertypeStore, checked: dict[int, CheckedRows]
) -> None:
    fill(store, checked)
    frame = store.read()
    read = frame.itertuples(index=False, name=None)
    loaded = sorted((*map(str, row[:-1]), row[-1]) for row in read)
    assert loaded == sorted((*row, batch) for batch, one in checked.items() for row in one.rows)


def test_loading_twice_leaves_one_set_of_rows(store: CovertypeStore, data_api: FakeDataApi) -> None:
    source = DataSource(data_api.url, group=1, fraction=0.1)
    assert row_counts(load(source, store)) == dict.fromkeys(BATCHES, 300)
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

    counts = load(DataSource(data_api.url, group=1, fraction=0.1), store, sleep)
    assert row_counts(counts) == dict.fromkeys(BATCHES, 300)
    assert waits == [0.01] * 10


def test_an_interrupted_load_leaves_the_table_and_is_gone_on_with(
    store: CovertypeStore, data_api: FakeDataApi, checked: dict[int, CheckedRows]
) -> None:
    fill(store, {batch: check_rows(one.rows[:7]) for batch, one in checked.items()})
    source = DataSource(data_api.url, group=1, fraction=0.1)

    def sleep(_: float) -> None:
        if data_api.position == 4:
            data_api.fail = (500, "broken")

    with pytest.raises(PipelineError, match="answered 500"):
        load(source, store, sleep)
    assert {state.rows for state in store.status().values()} == {7}
    data_api.fail = None
    assert row_counts(load(source, store)) == dict.fromkeys(BATCHES, 300)
    assert {state.rows for state in store.status().values()} == {300}


def test_an_exhausted_source_leaves_the_table(
    store: CovertypeStore, data_api: FakeDataApi, checked: dict[int, CheckedRows]
) -> None:
    fill(store, checked)
    before = store.status()
    data_api.position = 10
    with pytest.raises(PipelineError, match="Borrar_datos"):
        load(DataSource(data_api.url, group=1, fraction=0.1), store)
    after = store.status()
    assert {k: replace(v, age=before[k].age) for k, v in after.items()} == before


def test_batches_missed_by_the_load_are_named(
    store: CovertypeStore, data_api: FakeDataApi, checked: dict[int, CheckedRows]
) -> None:
    fill(store, checked)
    data_api.position = 3
    with pytest.raises(PipelineError, match="Batches 1, 2, 3 were not loaded"):
        load(DataSource(data_api.url, group=1, fraction=0.1), store)
    assert set(store.status()) == set(BATCHES)


def test_a_source_that_does_not_move_on_is_given_up(
    store: CovertypeStore, data_api: FakeDataApi
) -> None:
    def sleep(_: float) -> None:
        data_api.position = 0

    with pytest.raises(PipelineError, match="no batch 10"):
        load(DataSource(data_api.url, group=1, fraction=0.1), store, sleep)
    assert store.status() == {}


def test_a_batch_that_postgres_refuses_leaves_the_staged_one(
    store: CovertypeStore, postgres: Database, checked: dict[int, CheckedRows]
) -> None:
    store.stage(2, checked[2])
    # What validation would have found.
    bad = replace(checked[2], rows=[*checked[2].rows[:10], [*checked[2].rows[10][:-1], "9"]])
    with pytest.raises(PipelineError, match="Postgres refused"):
        store.stage(2, bad)
    assert query(postgres, "SELECT count(*) FROM covertype_staging") == [(300,)]


def test_bad_rows_are_set_aside_with_their_reason(
    store: CovertypeStore, postgres: Database, data_api: FakeDataApi
) -> None:
    third = [list(row) for row in data_api.batches[3]]
    third[0][1], third[1][11], third[2] = "north", "C\x00", third[3]
    data_api.batches[3] = third
    for _ in range(2):  # loading twice leaves one set of rejected rows for each load
        source = DataSource(data_api.url, group=1, fraction=0.1)
        source.restart()
        loaded = load(source, store)
    assert (loaded[3].rows, loaded[3].rejected) == (297, 3)
    found = query(
        postgres,
        "SELECT batch_number, column_name, reason, raw_row::text, load_id FROM covertype_rejected "
        "ORDER BY load_id, column_name",
    )
    assert [row[:2] for row in found] == [(3, "Aspect"), (3, "Soil_Type"), (3, None)] * 2
    assert found[0][2] == "'north' is not a whole number from 0 to 360."
    assert json.loads(found[0][3]) == third[0]
    # A row that jsonb cannot hold is kept as text.
    assert json.loads(found[1][3]) == ascii(third[1])
    assert [row[-1] for row in found] == [1, 1, 1, 2, 2, 2]
    assert query(postgres, "SELECT count(*) FROM covertype") == [(2997,)]


def test_too_many_bad_rows_refuse_the_batch_and_can_be_looked_at(
    store: CovertypeStore, postgres: Database, raw_batches: Batches
) -> None:
    rows = [["no row"]] * 16 + raw_batches[1]
    with pytest.raises(PipelineError, match=r"16 rows of batch 1 are bad \(5.1%, more than 5%\)"):
        store.stage(1, check_rows(rows))
    assert query(postgres, "SELECT count(*) FROM covertype_staging") == [(0,)]
    assert query(postgres, "SELECT DISTINCT raw_row::text FROM covertype_rejected") == [
        ('["no row"]',)
    ]
    # The next try takes the place of this one.
    store.stage(1, check_rows(raw_batches[1]))
    assert query(postgres, "SELECT count(*) FROM covertype_rejected") == [(0,)]


def test_a_row_of_another_batch_is_set_aside(
    store: CovertypeStore, checked: dict[int, CheckedRows]
) -> None:
    store.stage(1, checked[1])
    again = check_rows([*checked[2].rows, checked[1].rows[5]])
    assert store.stage(2, again).rejected == 1
    # A batch that is staged anew is not compared with itself.
    assert store.stage(2, checked[2]).rejected == 0


def test_a_new_load_forgets_what_another_left_unfinished(
    store: CovertypeStore, postgres: Database, checked: dict[int, CheckedRows]
) -> None:
    store.stage(5, checked[5])
    assert store.stage(1, checked[5]).rejected == 0
    assert query(postgres, "SELECT DISTINCT batch_number FROM covertype_staging") == [(1,)]


def test_the_history_tells_what_was_loaded_when_and_when_it_was_cleared(
    store: CovertypeStore, postgres: Database, checked: dict[int, CheckedRows]
) -> None:
    fill(store, checked)
    (first,) = query(
        postgres,
        "SELECT load_id, rows, rejected_rows, fingerprint, cleared_at FROM covertype_loads "
        "WHERE batch_number = 4",
    )
    assert (first[:3], first[4]) == ((1, 300, 0), None)
    fill(store, checked)
    store.clear()
    store.clear()
    history = query(
        postgres,
        "SELECT load_id, count(*), min(fingerprint), count(cleared_at), "
        "bool_and(loaded_at <= cleared_at) FROM covertype_loads GROUP BY 1 ORDER BY 1",
    )
    assert [(row[0], row[1], row[3], row[4]) for row in history] == [
        (1, 10, 10, True),
        (2, 10, 10, True),
    ]
    # The same rows, the same fingerprint; others, another.
    assert history[0][2] == history[1][2]
    assert query(
        postgres, "SELECT count(DISTINCT fingerprint) FROM covertype_loads WHERE load_id = 1"
    ) == [(10,)]


def test_two_loads_at_once_leave_no_duplicates(
    store: CovertypeStore, postgres: Database, checked: dict[int, CheckedRows]
) -> None:
    threads = [threading.Thread(target=store.stage, args=(1, checked[1])) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert query(postgres, "SELECT count(*) FROM covertype_staging") == [(300,)]


def test_clear_empties_and_counts(store: CovertypeStore, checked: dict[int, CheckedRows]) -> None:
    fill(store, checked)
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
    store: CovertypeStore, postgres: Database, checked: dict[int, CheckedRows]
) -> None:
    with pytest.raises(PipelineError, match="no rows: run the DAG Cargar_datos"):
        store.read()
    fill(store, checked)
    query(postgres, "DELETE FROM covertype WHERE batch_number IN (4, 9)")
    with pytest.raises(PipelineError, match="no rows of the batches 4, 9"):
        store.require_current()


def test_training_needs_a_current_load(
    store: CovertypeStore, postgres: Database, checked: dict[int, CheckedRows]
) -> None:
    fill(store, checked)
    assert set(store.require_current()) == set(BATCHES)
    query(postgres, "UPDATE covertype SET loaded_at = loaded_at - interval '25 hours'")
    with pytest.raises(PipelineError, match="older than 24 hours"):
        store.require_current()


def test_a_database_that_is_not_there_is_named(postgres: Database) -> None:
    absent = CovertypeStore(replace(postgres, name="absent"))
    with pytest.raises(PipelineError, match=r"absent.*connection\s+covertype_postgres"):
        absent.status()


def test_the_password_is_not_shown() -> None:
    assert "secret" not in repr(Database("h", 1, "n", "u", "secret"))
