"""Where the pipeline finds its services: Airflow's connections and variables.

The one place that knows their names. Tasks ask Airflow's task interface; a program that runs in a
worker's container outside of any task, such as ``covertype.production``, asks Airflow's own
database, whose login the container has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from covertype.errors import SettingError

if TYPE_CHECKING:
    from covertype.promotion import Promotions
    from covertype.registry import Registry
    from covertype.source import DataSource
    from covertype.store import CovertypeStore


@dataclass(frozen=True)
class Connections:
    """The services, made from Airflow's connections and variables.

    Attributes:
        connection: Gives a connection by its id.
        variable: Gives a variable by its name, or the default.
        user: On whose behalf: a run of a DAG, or an operator.
    """

    connection: Callable[[str], Any]
    variable: Callable[[str, str], str]
    user: str

    def store(self) -> CovertypeStore:
        """The tables with the data."""
        from covertype.store import CovertypeStore

        return CovertypeStore(self._database())

    def source(self, fraction: str | None = None) -> DataSource:
        """The data API.

        Args:
            fraction: How much of each batch to ask for; None for what the variable says.

        Raises:
            SettingError: A variable has no sensible value.
        """
        from covertype.source import GROUPS, DataSource

        group = self.variable("covertype_group_number", "1")
        if not group.isdecimal() or int(group) not in GROUPS:
            raise SettingError(
                f"The variable covertype_group_number is {group!r}: set it to a number from "
                f"{GROUPS[0]} to {GROUPS[-1]}."
            )
        fraction = fraction or self.variable("covertype_fraction", "0.1")
        try:
            share = float(fraction)
        except ValueError:
            share = 0.0
        if not 0 < share <= 1:
            raise SettingError(
                f"covertype_fraction is {fraction!r}: set the variable, or the run's parameter, "
                "to a number above 0 and at most 1."
            )
        return DataSource(self._base_url("covertype_data_api"), int(group), share)

    def registry(self) -> Registry:
        """MLflow."""
        from covertype.provenance import UNKNOWN, Provenance
        from covertype.registry import Registry, Tracking

        connection = self.connection("mlflow")
        tracking = Tracking(
            uri=self._base_url("mlflow"),
            username=connection.login or "",
            password=connection.password or "",
            experiment=self.variable("covertype_experiment", "covertype"),
            model_name=self._model_name(),
            alias=self.variable("covertype_production_alias", "production"),
            candidate_alias=self.variable("covertype_candidate_alias", "candidate"),
            previous_alias=self.variable("covertype_previous_alias", "previous"),
        )
        provenance = Provenance(
            commit=self.variable("covertype_commit", UNKNOWN),
            lock_sha256=self.variable("covertype_lock_sha256", UNKNOWN),
            pipeline_run=self.user,
        )
        return Registry(tracking, provenance)

    def promotions(self) -> Promotions:
        """What decides about production."""
        from covertype.audit import Audit
        from covertype.promotion import Promotions

        audit = Audit(self._database(), self._model_name())
        return Promotions(self.store(), self.registry(), audit, self.user)

    def _model_name(self) -> str:
        return self.variable("covertype_model_name", "modelo1")

    def _database(self) -> Any:
        from covertype.database import Database

        connection = self.connection("covertype_postgres")
        return Database(
            host=connection.host,
            port=connection.port,
            name=connection.schema,
            user=connection.login,
            password=connection.password,
        )

    def _base_url(self, connection_id: str) -> str:
        connection = self.connection(connection_id)
        return f"{connection.schema or 'http'}://{connection.host}:{connection.port}"


def of_task(user: str) -> Connections:
    """As a task sees them.

    Args:
        user: The run of the DAG.
    """
    from airflow.sdk import Connection, Variable

    return Connections(
        Connection.get, lambda name, default: str(Variable.get(name, default=default)), user
    )


def of_worker(user: str) -> Connections:
    """As a program in a worker's container sees them, outside of any task.

    Args:
        user: The operator.
    """
    from airflow.models import Connection, Variable

    return Connections(
        Connection.get_connection_from_secrets,
        lambda name, default: str(Variable.get(name, default_var=default)),
        user,
    )
