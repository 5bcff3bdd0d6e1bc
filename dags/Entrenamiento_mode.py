"""DAG: train the baseline."""

from airflow.sdk import dag

from covertype_tasks import DAG_SETTINGS, promote_group, train_group


@dag(dag_id="Entrenamiento_mode", schedule="2 0 * * *", **DAG_SETTINGS)
def entrenamiento_mode() -> None:
    """Trains the baseline on the loaded rows and registers it as a version of the model.

    It becomes production only if it passes the gate: better than the version in production by
    more than noise, within the serving budget, without a leak. The decision is in the tags of the
    version and in the table `model_promotions`. Needs a load of the last 24 hours
    (`Cargar_datos`).
    """
    _, version = train_group()
    promote_group([version])


entrenamiento_mode()
