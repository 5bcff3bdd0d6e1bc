"""DAG: load the data."""

from airflow.sdk import dag

from covertype_tasks import DAG_SETTINGS, load_group


@dag(dag_id="Cargar_datos", schedule="0 0 * * *", **DAG_SETTINGS)
def cargar_datos() -> None:
    """Loads the ten batches of the data API into the table `covertype`.

    Takes about 50 seconds, since each batch lasts 5. The table changes only when all ten are
    there. If the data API has no more data for the group, run `Borrar_datos` first.
    """
    load_group()


cargar_datos()
