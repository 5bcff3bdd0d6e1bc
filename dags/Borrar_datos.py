"""DAG: clear what was loaded."""

from airflow.sdk import dag

from covertype_tasks import DAG_SETTINGS, clear_group


@dag(dag_id="Borrar_datos", schedule="0 1 * * *", **DAG_SETTINGS)
def borrar_datos() -> None:
    """Empties the table `covertype` and starts the data API's group again.

    After it, `Cargar_datos` gets all ten batches.
    """
    clear_group()


borrar_datos()
