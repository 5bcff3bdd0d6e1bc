"""Airflow's REST API as a client on the machine reaches it."""

from __future__ import annotations

import json
import time
from functools import cached_property
from typing import Any

from shared.machine import Machine

_RUN_SECONDS = 180
_DAG_SECONDS = 120


class Api:
    """The API of the machine's Airflow, logged in as the administrator.

    Attributes:
        url: its address.
    """

    def __init__(self, machine: Machine, port: int) -> None:
        self._machine = machine
        self.url = f"http://{machine.address('airflow-api-server')}:{port}"

    def login(self, user: str, password: str) -> tuple[int, str]:
        """Ask for a token; return the status and the body."""
        body = json.dumps({"username": user, "password": password})
        return self._machine.http(f"{self.url}/auth/token", "--json", body)

    def get(self, path: str) -> Any:
        """Read something.

        Raises:
            AssertionError: the status is not 200.
        """
        return self._machine.get_json(f"{self.url}/api/v2{path}", *self._authorisation)

    def wait_for_dags(self, *dag_ids: str) -> None:
        """Wait until Airflow has read the files of some DAGs, and knows no others.

        Raises:
            AssertionError: it knows others after that time.
        """
        deadline = time.monotonic() + _DAG_SECONDS
        known: list[str] = []
        while known != sorted(dag_ids):
            assert time.monotonic() < deadline, known
            time.sleep(1)
            known = sorted(dag["dag_id"] for dag in self.get("/dags")["dags"])

    def run(self, dag_id: str) -> dict[str, Any]:
        """Start a run of a DAG, and return it once it has ended.

        Raises:
            AssertionError: it cannot be started or does not end.
        """
        status, body = self._machine.http(
            f"{self.url}/api/v2/dags/{dag_id}/dagRuns",
            *self._authorisation,
            *("--json", json.dumps({"logical_date": None})),
        )
        assert status in (200, 201), body
        path = f"/dags/{dag_id}/dagRuns/{json.loads(body)['dag_run_id']}"
        deadline = time.monotonic() + _RUN_SECONDS
        while time.monotonic() < deadline:
            run: dict[str, Any] = self.get(path)
            if run["state"] in ("success", "failed"):
                return run
            time.sleep(1)
        raise AssertionError(f"{dag_id} has not ended after {_RUN_SECONDS} s: {run}")

    @cached_property
    def _authorisation(self) -> tuple[str, str]:
        variables = self._machine.variables
        user = variables.get("airflow_admin_user", "admin")
        status, body = self.login(user, variables["airflow_admin_password"])
        assert status == 201, body
        return "--header", f"Authorization: Bearer {json.loads(body)['access_token']}"
