"""A client for the part of Airflow's REST API (version 2) that starts and follows a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from control.errors import ControlError
from control.rest import Answer, send

ACTIVE_STATES = ("running", "queued")
_PAGE = 100


@dataclass(frozen=True)
class TaskInstance:
    """One task of a run; a mapped task has one for each of its inputs.

    Attributes:
        task_id: the task.
        map_index: which of the inputs, -1 for a task that is not mapped.
        state: None before it is scheduled.
        try_number: which attempt, 0 before the first.
        seconds: how long the attempt has taken, None before it starts.
    """

    task_id: str
    map_index: int
    state: str | None
    try_number: int
    seconds: float | None

    @property
    def label(self) -> str:
        """Its name with the index of its input: `search.candidate[3]`."""
        return self.task_id if self.map_index < 0 else f"{self.task_id}[{self.map_index}]"


class Airflow:
    """Airflow's REST API, logged in with a user's password.

    Args:
        url: the base address.
        user: the user's name.
        password: the user's password.
        trusted: files with certificates that are trusted besides the host's.
    """

    def __init__(self, url: str, user: str, password: str, trusted: tuple[Path, ...] = ()) -> None:
        self.url = url
        self._user = user
        self._password = password
        self._trusted = trusted
        self._token: str | None = None

    def dag(self, dag_id: str) -> dict[str, Any] | None:
        """A DAG's description, None where Airflow does not know it (yet).

        Raises:
            ControlError: Airflow does not answer or refuses.
        """
        answer = self._call("GET", f"/dags/{dag_id}")
        return None if answer.status == 404 else self._body(answer, f"show the DAG {dag_id}")

    def import_errors(self) -> list[str]:
        """Why DAG files could not be read: file and the error's last line, for each."""
        body = self._body(self._call("GET", "/importErrors"), "list import errors")
        return [
            f"{error['filename']}: {error['stack_trace'].strip().splitlines()[-1]}"
            for error in body["import_errors"]
        ]

    def unpause(self, dag_id: str) -> None:
        """Let a DAG run."""
        answer = self._call("PATCH", f"/dags/{dag_id}", {"is_paused": False})
        self._body(answer, f"unpause the DAG {dag_id}")

    def active_run(self, dag_id: str) -> str | None:
        """The id of a run that is under way, None where there is none."""
        query = urlencode([("state", state) for state in ACTIVE_STATES])
        answer = self._call("GET", f"/dags/{dag_id}/dagRuns?{query}")
        runs = self._body(answer, f"list runs of {dag_id}")["dag_runs"]
        return str(runs[0]["dag_run_id"]) if runs else None

    def trigger(self, dag_id: str) -> str:
        """Start a run of a DAG and give its id."""
        # The date is required, and null: the run is for no interval of a schedule.
        answer = self._call("POST", f"/dags/{dag_id}/dagRuns", {"logical_date": None})
        return str(self._body(answer, f"start the DAG {dag_id}")["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        """The state of a run."""
        answer = self._call("GET", _run_path(dag_id, run_id))
        return str(self._body(answer, f"show the run {run_id}")["state"])

    def task_instances(self, dag_id: str, run_id: str) -> list[TaskInstance]:
        """All tasks of a run, those of mapped tasks one by one."""
        instances: list[TaskInstance] = []
        while True:
            query = urlencode({"limit": _PAGE, "offset": len(instances)})
            answer = self._call("GET", f"{_run_path(dag_id, run_id)}/taskInstances?{query}")
            body = self._body(answer, f"list the tasks of {run_id}")
            page = body["task_instances"]
            instances += [
                TaskInstance(
                    task_id=item["task_id"],
                    map_index=item["map_index"],
                    state=item["state"],
                    try_number=item["try_number"],
                    seconds=item["duration"],
                )
                for item in page
            ]
            if not page or len(instances) >= body["total_entries"]:
                return instances

    def log(self, dag_id: str, run_id: str, task: TaskInstance) -> list[str]:
        """The lines that a task's last attempt logged."""
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{quote(task.task_id, safe='')}/logs"
        query = urlencode({"map_index": task.map_index, "full_content": "true"})
        answer = self._call("GET", f"{path}/{max(task.try_number, 1)}?{query}")
        body = self._body(answer, f"show the log of {task.label}")
        lines = [line for item in body["content"] for line in _log_lines(item)]
        # Marks that fold the log in Airflow's own pages.
        return [line for line in lines if not line.startswith("::")]

    def _call(self, method: str, path: str, body: object = None) -> Answer:
        if self._token is None:
            self._log_in()
        answer = self._send(method, f"/api/v2{path}", body)
        if answer.status == 401:  # the token has expired
            self._log_in()
            answer = self._send(method, f"/api/v2{path}", body)
        return answer

    def _send(self, method: str, path: str, body: object = None) -> Answer:
        return send(method, f"{self.url}{path}", body, token=self._token, trusted=self._trusted)

    def _log_in(self) -> None:
        self._token = None
        login = {"username": self._user, "password": self._password}
        answer = self._send("POST", "/auth/token", login)
        if answer.status in (401, 403):
            raise ControlError(
                f"Airflow refuses the login of {self._user}. The password file may belong to "
                "another deployment; `make up` sets the password again."
            )
        self._token = str(self._body(answer, "log in")["access_token"])

    def _body(self, answer: Answer, purpose: str) -> dict[str, Any]:
        if answer.status >= 400 or not isinstance(answer.body, dict):
            raise ControlError(
                f"Airflow could not {purpose}: it answered {answer.status}, {answer.detail}"
            )
        return answer.body


def _run_path(dag_id: str, run_id: str) -> str:
    return f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"


def _log_lines(item: object) -> list[str]:
    """The text of one entry of a log: a line, or an event with the error that caused it."""
    if not isinstance(item, dict):
        return [str(item)]
    lines = str(item.get("event", "")).splitlines()
    for error in item.get("error_detail") or []:
        lines.append(f"{error.get('exc_type')}: {error.get('exc_value')}")
    return lines
