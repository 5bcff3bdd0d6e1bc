"""DAG: search for a better model."""

from airflow.sdk import dag

from covertype_tasks import DAG_SETTINGS, promote_group, search_group


@dag(dag_id="Procesa_data", schedule="10 0 * * *", **DAG_SETTINGS)
def procesa_data() -> None:
    """Tries several models on the workers at the same time and registers the best.

    Each candidate is a nested run in MLflow, compared on validation rows. The best is fitted
    again, evaluated on held-out rows, and becomes production only if its macro-F1 there is better
    than that of the version in production. Needs a load of the last 24 hours (`Cargar_datos`).
    """
    _, version = search_group()
    promote_group([version])


procesa_data()
