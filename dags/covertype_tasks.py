"""The Airflow side of the pipeline: connections, and the task groups that the DAGs are made of.

A DAG file only arranges these groups. What a task does is in the package ``covertype``, whose
heavy modules are imported inside the tasks, so that DAG files are parsed quickly.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import Connection, TaskGroup, Variable, chain, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from covertype.candidates import SEARCH_SPACE

if TYPE_CHECKING:
    from covertype.registry import Registry
    from covertype.source import DataSource
    from covertype.store import CovertypeStore

DAG_SETTINGS: dict[str, Any] = {
    "start_date": datetime(2025, 3, 30, tzinfo=UTC),
    "catchup": False,
    "max_active_runs": 1,
    "tags": ["covertype"],
}
"""What all DAGs of the pipeline have in common."""

_GRACE = timedelta(minutes=30)
_WAIT_FOR_LOAD: dict[str, Any] = {"retries": 4, "retry_delay": timedelta(seconds=30)}
_RETRY: dict[str, Any] = {"retries": 2, "retry_delay": timedelta(seconds=10)}


def clear_group() -> TaskGroup:
    """Empty the table and start the data API's group again."""
    with TaskGroup("clear") as group:

        @task(**_RETRY, execution_timeout=timedelta(minutes=2))
        def clear_table() -> int:
            """Empty the table; returns how many rows it had."""
            _skip_missed_slot()
            return _store().clear()

        @task(**_RETRY, execution_timeout=timedelta(minutes=2))
        def restart_source() -> None:
            """Start the group again, so that the next load gets all batches."""
            _source().restart()

        chain(clear_table(), restart_source())
    return group


def load_group() -> TaskGroup:
    """Fetch the ten batches and replace the table's rows by them."""
    with TaskGroup("load") as group:

        @task(**_RETRY, execution_timeout=timedelta(minutes=5))
        def load_batches() -> int:
            """Load all batches; returns the number of rows.

            A retry goes on with the batch that the data API is at. A load that fails leaves the
            table as it was.
            """
            from covertype.loading import load

            _skip_missed_slot()
            return sum(load(_source(), _store()).values())

        load_batches()
    return group


def train_group() -> tuple[TaskGroup, Any]:
    """Train the baseline and register it; gives the group and the version."""
    with TaskGroup("train") as group:

        @task(**_RETRY, execution_timeout=timedelta(minutes=10))
        def train_baseline() -> int:
            """Fit the baseline, evaluate it on held-out rows, register it; returns the version."""
            from covertype import pipeline

            return pipeline.train_baseline(_store(), _registry())

        version = train_baseline()
        chain(check_requirements(), version)
    return group, version


def search_group() -> tuple[TaskGroup, Any]:
    """Try the candidates on the workers and register the best; gives the group and the version."""
    with TaskGroup("search") as group:

        @task(**_RETRY, execution_timeout=timedelta(minutes=2))
        def start_search() -> str:
            """Open the run that the candidates belong to; returns its id."""
            return _registry().open_run("search")

        @task(**_RETRY, execution_timeout=timedelta(minutes=15), map_index_template="{{ name }}")
        def score_candidate(name: str, search_run: str) -> dict[str, Any]:
            """Fit one candidate and evaluate it on the validation rows."""
            from dataclasses import asdict

            from covertype import pipeline

            # What the page calls this mapped task, instead of its number.
            context: Any = get_current_context()
            context["name"] = name
            return asdict(pipeline.score_candidate(name, search_run, _store(), _registry()))

        @task(**_RETRY, execution_timeout=timedelta(minutes=10))
        def register_best(scores: Iterable[dict[str, Any]], search_run: str) -> int:
            """Refit the best candidate, evaluate it on held-out rows, register it."""
            from covertype import pipeline

            found = [pipeline.Score(**score) for score in scores]
            return pipeline.register_best(found, search_run, _store(), _registry())

        run: Any = start_search()
        chain(check_requirements(), run)
        scores: Any = score_candidate.partial(search_run=run).expand(
            name=[candidate.name for candidate in SEARCH_SPACE]
        )
        version = register_best(scores, run)
    return group, version


def promote_group(versions: list[Any]) -> None:
    """Put the best of the new versions into production if it is better than what is there."""
    with TaskGroup("promote"):

        @task(**_RETRY, execution_timeout=timedelta(minutes=5))
        def promote_if_better(versions: list[int]) -> str:
            """Compare on held-out rows and move the alias; returns the decision in a sentence."""
            from covertype.promotion import promote_best

            decision = promote_best(versions, _store(), _registry())
            verdict = "is promoted" if decision.promoted else "is not promoted"
            return f"Version {decision.challenger} {verdict}: {decision.reason}"

        promote_if_better(versions)


@task(**_WAIT_FOR_LOAD, execution_timeout=timedelta(minutes=2))
def check_requirements() -> None:
    """Check that a complete and current load and MLflow are there; waits two minutes for them."""
    _skip_missed_slot()
    _store().require_current()
    _registry().check()


def _skip_missed_slot() -> None:
    """Skip a scheduled run that starts long after its time.

    Airflow starts the latest missed run when a DAG is unpaused or the scheduler was down, also
    without catch-up. The four DAGs would then start together, and one clears what another loads.
    """
    run: Any = get_current_context()["dag_run"]
    if run.run_type == "scheduled" and datetime.now(UTC) - run.run_after > _GRACE:
        raise AirflowSkipException(
            f"This run was due at {run.run_after:%Y-%m-%d %H:%M} UTC and is not made up for. "
            "Trigger the DAG by hand to run it now."
        )


def _store() -> CovertypeStore:
    from covertype.store import CovertypeStore, Database

    connection: Any = Connection.get("covertype_postgres")
    return CovertypeStore(
        Database(
            host=connection.host,
            port=connection.port,
            name=connection.schema,
            user=connection.login,
            password=connection.password,
        )
    )


def _source() -> DataSource:
    from covertype.source import GROUPS, DataSource

    group = Variable.get("covertype_group_number", default="1")
    if not group.isdecimal() or int(group) not in GROUPS:
        raise AirflowFailException(
            f"The variable covertype_group_number is {group!r}: set it to a number from "
            f"{GROUPS[0]} to {GROUPS[-1]}."
        )
    return DataSource(_base_url("covertype_data_api"), int(group))


def _registry() -> Registry:
    from covertype.registry import Registry, Tracking

    connection: Any = Connection.get("mlflow")
    return Registry(
        Tracking(
            uri=_base_url("mlflow"),
            username=connection.login or "",
            password=connection.password or "",
            experiment=Variable.get("covertype_experiment", default="covertype"),
            model_name=Variable.get("covertype_model_name", default="modelo1"),
            alias=Variable.get("covertype_production_alias", default="production"),
        )
    )


def _base_url(connection_id: str) -> str:
    connection: Any = Connection.get(connection_id)
    return f"{connection.schema or 'http'}://{connection.host}:{connection.port}"
