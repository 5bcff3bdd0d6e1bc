"""DAG: load the data."""

from airflow.sdk import dag

from covertype_tasks import DAG_SETTINGS, LOAD_PARAMS, load_group


@dag(dag_id="Cargar_datos", schedule="0 0 * * *", params=LOAD_PARAMS, **DAG_SETTINGS)
def cargar_datos() -> None:
    """Loads the ten batches of the data API into the table `covertype`.

    Takes about 50 seconds, since each batch lasts 5. The table changes only when all ten are
    there. If the data API has no more data for the group, run `Borrar_datos` first.

    A bad row goes to `covertype_rejected` with its reason; `covertype_loads` says what was loaded
    when. How much of each batch is loaded is the variable `covertype_fraction`, or this run's
    parameter of that name: 0.1 for 58,100 rows, 1 for all 581,012.
    """
    load_group()


cargar_datos()
