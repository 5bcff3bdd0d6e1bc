"""DAG: the whole pipeline once, on demand."""

from airflow.sdk import chain, dag

from covertype_tasks import (
    DAG_SETTINGS,
    LOAD_PARAMS,
    WHOLE_FLOW,
    clear_group,
    load_group,
    promote_group,
    search_group,
    train_group,
    wait_for_daily_dags,
)


@dag(dag_id=WHOLE_FLOW, schedule=None, params=LOAD_PARAMS, **DAG_SETTINGS)
def flujo_completo() -> None:
    """Runs the recommended order once: clear, load, train, search, promote.

    The same tasks as in the four daily DAGs; it waits for those that are running, and those that
    are due meanwhile skip their run. At the end the better of the baseline and the
    search's best meets the gate. The parameter `covertype_fraction` is how much of each batch is
    loaded.
    """
    clearing, loading = clear_group(), load_group()
    training, baseline = train_group()
    searching, best = search_group()
    chain(wait_for_daily_dags(), clearing, loading, training, searching)
    promote_group([baseline, best])


flujo_completo()
