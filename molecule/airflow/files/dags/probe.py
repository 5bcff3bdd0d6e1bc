"""DAG: what a task finds where it runs."""

import socket
import sys

from airflow.sdk import BaseHook, Variable, dag, task


@dag(dag_id="probe", schedule=None)
def probe() -> None:
    """Reads a variable and a connection in a worker."""

    @task
    def look() -> str:
        connection = BaseHook.get_connection("shop")
        found = f"{Variable.get('colour')} {connection.host} {len(connection.password or '')}"
        # Airflow masks it, wherever it is printed.
        print(f"the password is {connection.password}")
        # A module that nothing here imports.
        imported = "wave" if "wave" in sys.modules else "nothing"
        return f"{found} {socket.gethostname().rpartition('-')[0]} {imported}"

    look()


probe()
