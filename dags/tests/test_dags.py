"""DAG tests: they import, have the agreed structure, and run on real parts."""

import itertools
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from conftest import DAGS_FOLDER, FakeDataApi, free_port, shrink
from covertype import pipeline, schema
from covertype.candidates import SEARCH_SPACE
from covertype.registry import Registry, Tracking
from covertype.store import CovertypeStore, Database

SCHEDULES = {
    "Cargar_datos": "0 0 * * *",
    "Entrenamiento_mode": "2 0 * * *",
    "Procesa_data": "10 0 * * *",
    "Borrar_datos": "0 1 * * *",
    "Flujo_completo": None,
}


@pytest.fixture(scope="session")
def airflow_database() -> None:
    """The metadata database that ``dag.test()`` records its runs in."""
    from airflow.utils.db import initdb

    initdb()


@pytest.fixture(scope="session")
def dags(airflow_database: None) -> dict[str, Any]:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(DAGS_FOLDER))
    assert bag.import_errors == {}
    return dict(bag.dags)


@pytest.fixture
def no_waiting(dags: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks are tried again at once."""
    for dag in dags.values():
        for task in dag.tasks:
            if not task.is_mapped:
                monkeypatch.setattr(task, "retry_delay", timedelta(0))


def test_all_dags_and_no_others_are_found(dags: dict[str, Any]) -> None:
    assert set(dags) == set(SCHEDULES)


@pytest.mark.parametrize("dag_id", SCHEDULES)
def test_schedule(dags: dict[str, Any], dag_id: str) -> None:
    dag = dags[dag_id]
    expression = SCHEDULES[dag_id]
    assert dag.schedule == expression
    assert dag.start_date == datetime(2025, 3, 30, tzinfo=UTC)
    assert dag.catchup is False
    assert dag.max_active_runs == 1
    assert dag.doc_md
    assert "covertype" in dag.tags


@pytest.mark.parametrize("dag_id", SCHEDULES)
def test_every_task_retries_and_ends(dags: dict[str, Any], dag_id: str) -> None:
    for task in dags[dag_id].tasks:
        assert task.retries >= 2, task.task_id
        assert task.execution_timeout <= timedelta(minutes=15), task.task_id


@pytest.mark.parametrize(
    ("dag_id", "order"),
    [
        ("Borrar_datos", ["clear.clear_table", "clear.restart_source"]),
        ("Cargar_datos", ["load.load_batches"]),
        (
            "Entrenamiento_mode",
            ["train.check_requirements", "train.train_baseline", "promote.promote_if_better"],
        ),
        (
            "Procesa_data",
            [
                "search.check_requirements",
                "search.start_search",
                "search.score_candidate",
                "search.register_best",
                "promote.promote_if_better",
            ],
        ),
        (
            "Flujo_completo",
            [
                "clear.clear_table",
                "clear.restart_source",
                "load.load_batches",
                "train.check_requirements",
                "train.train_baseline",
                "search.check_requirements",
                "search.start_search",
                "search.score_candidate",
                "search.register_best",
                "promote.promote_if_better",
            ],
        ),
    ],
)
def test_tasks_run_one_after_the_other(dags: dict[str, Any], dag_id: str, order: list[str]) -> None:
    dag = dags[dag_id]
    assert set(dag.task_ids) == set(order)
    for earlier, later in itertools.pairwise(order):
        assert later in dag.get_task(earlier).get_flat_relative_ids(upstream=False)


def test_dag_files_know_no_sql_and_no_training() -> None:
    for dag_id in SCHEDULES:
        text = (DAGS_FOLDER / f"{dag_id}.py").read_text()
        assert not {"SELECT", "psycopg2", "sklearn", "mlflow."} & set(text.split()), dag_id


@pytest.mark.parametrize(
    ("run_type", "late", "skipped"),
    [
        ("scheduled", timedelta(minutes=1), False),
        ("scheduled", timedelta(hours=9), True),
        ("manual", timedelta(hours=9), False),
    ],
)
def test_a_missed_slot_is_not_made_up_for(
    monkeypatch: pytest.MonkeyPatch, run_type: str, late: timedelta, skipped: bool
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    import covertype_tasks

    run = SimpleNamespace(run_type=run_type, run_after=datetime.now(UTC) - late)
    monkeypatch.setattr(covertype_tasks, "get_current_context", lambda: {"dag_run": run})
    with pytest.raises(AirflowSkipException) if skipped else nullcontext():
        covertype_tasks._skip_missed_slot()


# --- runs -------------------------------------------------------------------------------------


@pytest.fixture
def platform(
    dags: dict[str, Any],
    no_waiting: None,
    store: CovertypeStore,
    postgres: Database,
    mlflow_server: Tracking,
    data_api: FakeDataApi,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[FakeDataApi]:
    """The connections that tasks read, pointing to this test's servers."""
    host, port = data_api.address
    login = f"{mlflow_server.username}:{mlflow_server.password}"
    address = mlflow_server.uri.removeprefix("http://")
    for name, uri in {
        "AIRFLOW_CONN_COVERTYPE_POSTGRES": (
            f"postgres://{postgres.user}:{postgres.password}@{postgres.host}:{postgres.port}"
            f"/{postgres.name}"
        ),
        "AIRFLOW_CONN_COVERTYPE_DATA_API": f"http://{host}:{port}/http",
        "AIRFLOW_CONN_MLFLOW": f"http://{login}@{address}/http",
        "AIRFLOW_VAR_COVERTYPE_GROUP_NUMBER": "4",
        "AIRFLOW_VAR_COVERTYPE_MODEL_NAME": "from-dags",
    }.items():
        monkeypatch.setenv(name, uri)
    yield data_api


def states(run: Any) -> dict[str, str]:
    return {f"{ti.task_id}[{ti.map_index}]": str(ti.state) for ti in run.get_task_instances()}


def test_the_whole_flow(
    platform: FakeDataApi,
    dags: dict[str, Any],
    store: CovertypeStore,
    mlflow_server: Tracking,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Fewer members for each candidate: this test is about the order of things.
    monkeypatch.setattr(
        pipeline, "SEARCH_SPACE", [shrink(candidate, 3) for candidate in SEARCH_SPACE]
    )
    run = dags["Flujo_completo"].test()
    assert run.state == "success", states(run)
    candidates = [name for name in states(run) if "score_candidate" in name]
    assert len(candidates) == len(SEARCH_SPACE)
    assert platform.calls[0] == "/restart_data_generation?group_number=4"
    assert {batch: state.rows for batch, state in store.status().items()} == dict.fromkeys(
        schema.BATCHES, 300
    )
    registry = Registry(
        Tracking(
            *(mlflow_server.uri, mlflow_server.username, mlflow_server.password),
            *("covertype", "from-dags", "production"),
        )
    )
    assert registry.production() in (1, 2)


def test_a_load_from_a_source_that_is_exhausted_fails_and_says_what_to_do(
    platform: FakeDataApi, dags: dict[str, Any], store: CovertypeStore, caplog: Any, capfd: Any
) -> None:
    platform.position = 10
    run = dags["Cargar_datos"].test()
    assert run.state == "failed"
    assert "Run the DAG Borrar_datos" in capfd.readouterr().out + caplog.text
    assert store.status() == {}


def test_training_without_data_fails_and_says_what_to_do(
    platform: FakeDataApi, dags: dict[str, Any], caplog: Any, capfd: Any
) -> None:
    run = dags["Entrenamiento_mode"].test()
    assert run.state == "failed"
    assert states(run)["train.train_baseline[-1]"] == "upstream_failed"
    assert "run the DAG Cargar_datos" in capfd.readouterr().out + caplog.text


def test_an_unknown_group_fails_at_once_naming_the_variable(
    platform: FakeDataApi,
    dags: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: Any,
    capfd: Any,
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_COVERTYPE_GROUP_NUMBER", "11")
    run = dags["Cargar_datos"].test()
    assert run.state == "failed"
    assert "covertype_group_number is '11'" in capfd.readouterr().out + caplog.text
    assert platform.calls == []


def test_a_server_that_is_down_is_named(
    platform: FakeDataApi,
    dags: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: Any,
    capfd: Any,
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_COVERTYPE_DATA_API", f"http://127.0.0.1:{free_port()}/http")
    run = dags["Borrar_datos"].test()
    assert run.state == "failed"
    assert "The data API does not answer" in capfd.readouterr().out + caplog.text
