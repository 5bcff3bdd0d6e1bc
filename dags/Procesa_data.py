"""DAG: search for a better model."""

from airflow.sdk import dag

from covertype_tasks import DAG_SETTINGS, promote_group, search_group


@dag(dag_id="Procesa_data", schedule="10 0 * * *", **DAG_SETTINGS)
def procesa_data() -> None:
    """Searches for a better model on the workers and registers the best.

    A sampler proposes candidates, which are cross-validated on a share of the rows at the same
    time; the best go on to all rows. Each candidate is a nested run in MLflow. The best is fitted
    again, evaluated on rows that no step of the search saw, and becomes production only if it
    passes the gate (see `Entrenamiento_mode`). Needs a load of the last 24 hours
    (`Cargar_datos`).
    """
    _, version = search_group()
    promote_group([version])


procesa_data()
