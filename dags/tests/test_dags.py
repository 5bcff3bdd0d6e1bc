"""DAG tests: they import, have the agreed structure, and run on real parts."""

import itertools
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from servers import free_port

from conftest import DAGS_FOLDER, PROVENANCE, FakeDataApi, cost_without_measuring
from covertype import plan, schema
from covertype.audit import Audit
from covertype.connections import of_worker
from covertype.database import Database
from covertype.registry import Registry, Tracking
from covertype.store import CovertypeStore

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
            if task.is_mapped:
                monkeypatch.setitem(task.partial_kwargs, "retry_delay", timedelta(0))
            else:
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
        assert task.execution_timeout <= timedelta(minutes=30), task.task_id


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
                "search.score_on_share",
                "search.select_candidates",
                "search.score_on_all",
                "search.register_best",
                "promote.promote_if_better",
            ],
        ),
        (
            "Flujo_completo",
            [
                "wait_for_daily_dags",
                "clear.clear_table",
                "clear.restart_source",
                "load.load_batches",
                "train.check_requirements",
                "train.train_baseline",
                "search.check_requirements",
                "search.start_search",
                "search.score_on_share",
                "search.select_candidates",
                "search.score_on_all",
                "search.register_best",
                "promote.promote_if_better",
            ],
        ),
    ],
)
def test_tasks_run_one_after_the_other(dags: dict[str, Any], dag_id: str, order: list[str]) -> None:
    dag = dags[dag_id]
    # It runs only when the search has failed.
    assert set(dag.task_ids) - {"search.mark_failed"} == set(order)
    for earlier, later in itertools.pairwise(order):
        assert later in dag.get_task(earlier).get_flat_relative_ids(upstream=False)


def test_dag_files_know_no_sql_and_no_training() -> None:
    for dag_id in SCHEDULES:
        text = (DAGS_FOLDER / f"{dag_id}.py").read_text()
        assert not {"SELECT", "psycopg2", "sklearn", "mlflow."} & set(text.split()), dag_id


def running_dags(running: list[str]) -> SimpleNamespace:
    """A task that is told of one run of each of these DAGs."""

    def count(dag_id: str, states: list[str]) -> int:
        assert states == ["running"]
        return running.count(dag_id)

    return SimpleNamespace(get_dr_count=count)


@pytest.mark.parametrize(
    ("run_type", "late", "running", "skipped"),
    [
        ("scheduled", timedelta(minutes=1), [], False),
        ("scheduled", timedelta(minutes=1), ["Cargar_datos"], False),
        ("scheduled", timedelta(minutes=1), ["Flujo_completo"], True),
        ("scheduled", timedelta(hours=9), [], True),
        ("manual", timedelta(hours=9), ["Flujo_completo"], False),
    ],
)
def test_a_slot_is_skipped_that_was_missed_or_in_which_the_whole_flow_runs(
    monkeypatch: pytest.MonkeyPatch,
    run_type: str,
    late: timedelta,
    running: list[str],
    skipped: bool,
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    import covertype_tasks

    run = SimpleNamespace(run_type=run_type, run_after=datetime.now(UTC) - late)
    context = {"dag_run": run, "ti": running_dags(running)}
    monkeypatch.setattr(covertype_tasks, "get_current_context", lambda: context)
    with pytest.raises(AirflowSkipException) if skipped else nullcontext():
        covertype_tasks._skip_unfit_slot()


@pytest.mark.parametrize(
    ("running", "goes_on"),
    [([], True), (["Flujo_completo"], True), (["Cargar_datos"], False), (["Procesa_data"], False)],
)
def test_the_whole_flow_waits_for_the_daily_dags(
    dags: dict[str, Any], monkeypatch: pytest.MonkeyPatch, running: list[str], goes_on: bool
) -> None:
    import covertype_tasks

    context = {"ti": running_dags(running)}
    monkeypatch.setattr(covertype_tasks, "get_current_context", lambda: context)
    wait = dags["Flujo_completo"].get_task("wait_for_daily_dags")
    assert wait.python_callable() is goes_on
    assert wait.mode == "reschedule"
    daily = {dag_id for dag_id, schedule in SCHEDULES.items() if schedule is not None}
    assert daily == set(covertype_tasks.DAILY_DAGS)
    assert set(SCHEDULES) - daily == {covertype_tasks.WHOLE_FLOW}


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
        "AIRFLOW_VAR_COVERTYPE_COMMIT": "c0ffee",
    }.items():
        monkeypatch.setenv(name, uri)
    yield data_api


def states(run: Any) -> dict[str, str]:
    return {f"{ti.task_id}[{ti.map_index}]": str(ti.state) for ti in run.get_task_instances()}


def registry_of_dags(mlflow_server: Tracking) -> Registry:
    return Registry(replace(mlflow_server, model_name="from-dags"), PROVENANCE)


def test_the_whole_flow(
    platform: FakeDataApi,
    dags: dict[str, Any],
    store: CovertypeStore,
    postgres: Database,
    mlflow_server: Tracking,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A small search, and no measuring: this test is about the order of things.
    for module in ("export", "gate"):
        monkeypatch.setattr(f"covertype.{module}.measure", cost_without_measuring)
    monkeypatch.setattr(plan, "FAMILIES", ("random_forest", "extra_trees", "extra_trees"))
    run = dags["Flujo_completo"].test(run_conf={"covertype_fraction": 0.1})
    assert run.state == "success", states(run)
    ended = states(run)
    assert len([name for name in ended if "score_on_share" in name]) == 3
    assert len([name for name in ended if "score_on_all" in name]) == 2
    assert ended["search.mark_failed[-1]"] == "skipped"
    assert platform.calls[:2] == [
        "/restart_data_generation?group_number=4",
        "/data?group_number=4&fraction=0.1",
    ]
    assert {batch: state.rows for batch, state in store.status().items()} == dict.fromkeys(
        schema.BATCHES, 300
    )
    registry = registry_of_dags(mlflow_server)
    assert registry.production() in (1, 2)
    found = {one.info.run_name: one for one in registry._search_runs("")}
    assert {"baseline", "search"} < set(found)
    assert {one.info.status for one in found.values()} == {"FINISHED"}
    assert found["search"].data.tags["mlflow.source.git.commit"] == "c0ffee"
    decided = Audit(postgres, "from-dags").entries()
    assert [entry.accepted for entry in decided].count(True) == 1
    assert decided[0].decided_by.startswith("Flujo_completo/")


def test_a_search_that_fails_is_failed_in_mlflow_and_registers_nothing(
    platform: FakeDataApi,
    dags: dict[str, Any],
    store: CovertypeStore,
    mlflow_server: Tracking,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_COVERTYPE_EXPERIMENT", "failing")
    monkeypatch.setattr(plan, "FAMILIES", ("extra_trees",))
    assert dags["Cargar_datos"].test().state == "success"
    registry = registry_of_dags(replace(mlflow_server, experiment="failing"))
    before = registry.versions()
    monkeypatch.setattr("covertype.scoring.cross_validated", None)
    run = dags["Procesa_data"].test()
    assert run.state == "failed"
    assert states(run)["search.mark_failed[-1]"] == "success"
    found = {one.info.run_name: one.info.status for one in registry._search_runs("")}
    assert found == {"search": "FAILED", "01-extra_trees": "FAILED"}
    assert registry.versions() == before


def test_the_fraction_of_a_run_is_the_variables_unless_it_is_given(
    platform: FakeDataApi, dags: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_COVERTYPE_FRACTION", "0.05")
    assert dags["Cargar_datos"].test().state == "success"
    assert platform.calls[0] == "/data?group_number=4&fraction=0.05"
    platform.position = 0
    platform.calls.clear()
    assert dags["Cargar_datos"].test(run_conf={"covertype_fraction": 0.08}).state == "success"
    assert platform.calls[0] == "/data?group_number=4&fraction=0.08"


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


@pytest.mark.parametrize(
    ("variable", "value"), [("covertype_group_number", "11"), ("covertype_fraction", "1.5")]
)
def test_a_wrong_variable_fails_at_once_and_is_named(
    platform: FakeDataApi,
    dags: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: Any,
    capfd: Any,
    variable: str,
    value: str,
) -> None:
    monkeypatch.setenv(f"AIRFLOW_VAR_{variable.upper()}", value)
    # Given, since Airflow's test runs keep in the DAG what an earlier one was given.
    run = dags["Cargar_datos"].test(run_conf={"covertype_fraction": None})
    assert run.state == "failed"
    said = capfd.readouterr().out + caplog.text
    assert f"{variable} is '{value}'" in said
    assert "up for retry" not in said.lower()
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


def test_a_program_in_a_worker_finds_the_services_outside_of_any_task(
    platform: FakeDataApi, store: CovertypeStore, mlflow_server: Tracking
) -> None:
    """As `make models` does, which runs no task."""
    promotions = of_worker("ana").promotions()
    assert promotions.registry.tracking == replace(mlflow_server, model_name="from-dags")
    assert of_worker("ana").store().status() == {}
