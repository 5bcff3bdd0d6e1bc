"""The Airflow side of the pipeline: the task groups that the DAGs are made of.

A DAG file only arranges these groups. What a task does is in the package ``covertype``, whose
heavy modules are imported inside the tasks, so that DAG files are parsed quickly.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import Param, TaskGroup, TriggerRule, chain, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from covertype import connections
from covertype.errors import SettingError

if TYPE_CHECKING:
    from covertype.candidates import Score
    from covertype.connections import Connections
    from covertype.source import DataSource

DAG_SETTINGS: dict[str, Any] = {
    "start_date": datetime(2025, 3, 30, tzinfo=UTC),
    "catchup": False,
    "max_active_runs": 1,
    "tags": ["covertype"],
}
"""What all DAGs of the pipeline have in common."""

WHOLE_FLOW = "Flujo_completo"
"""The DAG that does on demand what the daily ones do."""

DAILY_DAGS = ("Borrar_datos", "Cargar_datos", "Entrenamiento_mode", "Procesa_data")
"""The DAGs that run each night."""

_FRACTION = "covertype_fraction"

LOAD_PARAMS: dict[str, Any] = {
    _FRACTION: Param(
        None,
        type=["null", "number"],
        exclusiveMinimum=0,
        maximum=1,
        description="How much of each batch this run loads, 1 for all 581,012 rows; empty for what "
        f"the variable {_FRACTION} says.",
    )
}
"""What a run of a DAG that loads can be given."""

# On all 581,012 rows the slowest takes ten minutes on two cores; on 58,100 half a minute.
_FITTING = timedelta(minutes=30)
_GRACE = timedelta(minutes=30)
_LOOK_FOR_OTHERS_SECONDS = 10
_WAIT_FOR_LOAD: dict[str, Any] = {"retries": 4, "retry_delay": timedelta(seconds=30)}
_RETRY: dict[str, Any] = {"retries": 2, "retry_delay": timedelta(seconds=10)}


@task.sensor(
    **_RETRY,
    execution_timeout=_FITTING,
    poke_interval=_LOOK_FOR_OTHERS_SECONDS,
    timeout=_FITTING.total_seconds(),
    # While it waits, the others have the worker.
    mode="reschedule",
)
def wait_for_daily_dags() -> bool:
    """Wait until no daily DAG is running: they share the table and the data API's group.

    Those that begin later skip their run.
    """
    task_instance: Any = get_current_context()["ti"]
    running = [
        dag_id for dag_id in DAILY_DAGS if task_instance.get_dr_count(dag_id, states=["running"])
    ]
    if running:
        print(f"waiting for {', '.join(running)}")
    return not running


def clear_group() -> TaskGroup:
    """Empty the table and start the data API's group again."""
    with TaskGroup("clear") as group:

        @task(**_RETRY, execution_timeout=timedelta(minutes=2))
        def clear_table() -> int:
            """Empty the table; returns how many rows it had."""
            _skip_unfit_slot()
            return _services().store().clear()

        @task(**_RETRY, execution_timeout=timedelta(minutes=2))
        def restart_source() -> None:
            """Start the group again, so that the next load gets all batches."""
            _source(_services()).restart()

        chain(clear_table(), restart_source())
    return group


def load_group() -> TaskGroup:
    """Fetch the ten batches and replace the table's rows by them."""
    with TaskGroup("load") as group:

        @task(**_RETRY, execution_timeout=timedelta(minutes=5))
        def load_batches() -> dict[str, int]:
            """Load all batches; returns the numbers of rows loaded and rejected.

            A retry goes on with the batch that the data API is at. A load that fails leaves the
            table as it was.
            """
            from covertype.loading import load

            _skip_unfit_slot()
            services = _services()
            given = get_current_context()["params"].get(_FRACTION)
            source = _source(services, None if given is None else str(given))
            loaded = load(source, services.store()).values()
            return {
                "rows": sum(batch.rows for batch in loaded),
                "rejected": sum(batch.rejected for batch in loaded),
            }

        load_batches()
    return group


def train_group() -> tuple[TaskGroup, Any]:
    """Train the baseline and register it; gives the group and the version."""
    with TaskGroup("train") as group:

        @task(**_RETRY, execution_timeout=_FITTING)
        def train_baseline() -> int:
            """Fit the baseline, evaluate it on held-out rows, register it; returns the version."""
            from covertype import pipeline

            services = _services()
            return pipeline.train_baseline(services.user, services.store(), services.registry())

        version = train_baseline()
        chain(check_requirements(), version)
    return group, version


def search_group() -> tuple[TaskGroup, Any]:
    """Search on the workers and register the best; gives the group and the version.

    Two rungs: all candidates on a share of the rows, the best again on all rows.
    """
    with TaskGroup("search") as group:

        @task(**_RETRY, execution_timeout=timedelta(minutes=2))
        def start_search() -> list[dict[str, Any]]:
            """Open the run that the candidates belong to, and sample them."""
            from dataclasses import asdict

            from covertype import pipeline

            services = _services()
            sampled = pipeline.start_search(services.user, services.store(), services.registry())
            return [asdict(candidate) for candidate in sampled]

        @task(**_RETRY, execution_timeout=_FITTING, map_index_template="{{ name }}")
        def score_on_share(candidate: dict[str, Any]) -> dict[str, Any]:
            """Cross-validate one candidate on a share of the rows."""
            return _score(candidate, final=False)

        @task(**_RETRY, execution_timeout=timedelta(minutes=2))
        def select_candidates(scores: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
            """Keep the best third, and let the sampler add what looks promising now."""
            from dataclasses import asdict

            from covertype import pipeline

            chosen = pipeline.select_candidates(_scores(scores), _services().store())
            return [asdict(candidate) for candidate in chosen]

        @task(**_RETRY, execution_timeout=_FITTING, map_index_template="{{ name }}")
        def score_on_all(candidate: dict[str, Any]) -> dict[str, Any]:
            """Cross-validate one candidate on all rows but the held-out ones."""
            return _score(candidate, final=True)

        @task(**_RETRY, execution_timeout=_FITTING)
        def register_best(first: Iterable[dict[str, Any]], final: Iterable[dict[str, Any]]) -> int:
            """Refit the best candidate, evaluate it on held-out rows, register it."""
            from covertype import pipeline

            services = _services()
            return pipeline.register_best(
                _scores(first),
                _scores(final),
                services.user,
                services.store(),
                services.registry(),
            )

        @task(
            **_RETRY,
            execution_timeout=timedelta(minutes=2),
            trigger_rule=TriggerRule.ONE_FAILED,
        )
        def mark_failed() -> bool:
            """Mark the search as failed in MLflow; does nothing where it did not fail."""
            from covertype import pipeline

            services = _services()
            return pipeline.fail_search(services.user, services.registry())

        candidates: Any = start_search()
        chain(check_requirements(), candidates)
        first: Any = score_on_share.expand(candidate=candidates)
        final: Any = score_on_all.expand(candidate=select_candidates(first))
        version = register_best(first, final)
        chain(version, mark_failed())
    return group, version


def promote_group(versions: list[Any]) -> None:
    """Put the best of the new versions into production if it passes the gate."""
    with TaskGroup("promote"):

        @task(**_RETRY, execution_timeout=timedelta(minutes=10))
        def promote_if_better(versions: list[int]) -> list[str]:
            """Let the versions pass the gate; returns each decision in a sentence."""
            decisions = _services().promotions().promote_best(versions)
            return [
                f"Version {one.version} {'is promoted' if one.accepted else 'is refused'}: "
                f"{one.reason}"
                for one in decisions
            ]

        promote_if_better(versions)


@task(**_WAIT_FOR_LOAD, execution_timeout=timedelta(minutes=2))
def check_requirements() -> None:
    """Check that a complete and current load and MLflow are there; waits two minutes for them."""
    _skip_unfit_slot()
    services = _services()
    services.store().require_current()
    services.registry().check()


def _score(candidate: dict[str, Any], *, final: bool) -> dict[str, Any]:
    from dataclasses import asdict

    from covertype.candidates import Candidate
    from covertype.scoring import score_candidate

    # What the page calls this mapped task, instead of its number.
    context: Any = get_current_context()
    context["name"] = candidate["name"]
    services = _services()
    score = score_candidate(
        Candidate(**candidate), final, services.user, services.store(), services.registry()
    )
    return asdict(score)


def _scores(found: Iterable[dict[str, Any]]) -> list[Score]:
    from covertype.candidates import Score

    return [Score(**score) for score in found]


def _skip_unfit_slot() -> None:
    """Skip a scheduled run that starts long after its time, or while the whole flow runs.

    Airflow starts the latest missed run when a DAG is unpaused or the scheduler was down, also
    without catch-up. The four DAGs would then start together, and one clears what another loads;
    the whole flow does the same as they do.
    """
    context: Any = get_current_context()
    run = context["dag_run"]
    if run.run_type != "scheduled":
        return
    if datetime.now(UTC) - run.run_after > _GRACE:
        raise AirflowSkipException(
            f"This run was due at {run.run_after:%Y-%m-%d %H:%M} UTC and is not made up for. "
            "Trigger the DAG by hand to run it now."
        )
    if context["ti"].get_dr_count(WHOLE_FLOW, states=["running"]):
        raise AirflowSkipException(
            f"{WHOLE_FLOW} is running, and both would change the same data. Trigger this DAG by "
            "hand after it, if it is needed then."
        )


def _source(services: Connections, fraction: str | None = None) -> DataSource:
    """The data API; a wrong setting fails the task at once, since a retry would not help."""
    try:
        return services.source(fraction)
    except SettingError as error:
        raise AirflowFailException(str(error)) from error


def _services() -> Connections:
    """What this task works with, in the name of the run of the DAG."""
    run: Any = get_current_context()["dag_run"]
    return connections.of_task(f"{run.dag_id}/{run.run_id}")
