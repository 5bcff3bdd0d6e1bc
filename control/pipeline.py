"""Runs the pipeline's DAG and shows how it goes."""

import time
from collections.abc import Callable

from control.airflow import ACTIVE_STATES, Airflow, TaskInstance
from control.console import Console, duration
from control.errors import ControlError, Interrupted
from control.rest import UnreachableError

DAG_ID = "Flujo_completo"

_POLL_SECONDS = 2.0
# After its deployment Airflow takes this long to read the DAG files and list the DAG.
_LISTED_SECONDS = 120.0
_RUN_SECONDS = 3600.0
# The API may be away for a moment, such as while its container is made anew.
_UNREACHABLE_SECONDS = 90.0
_STUCK_SECONDS = 90.0
_LOG_LINES = 15
# The states worth a line; between them a task is only passed on inside Airflow.
_SHOWN_STATES = {"running", "success", "failed", "up_for_retry", "upstream_failed", "skipped"}
# A task that looks every few seconds whether it can go on is in the second one meanwhile.
_BUSY_STATES = {"running", "up_for_reschedule"}


class Pipeline:
    """The pipeline's DAG in one Airflow."""

    def __init__(
        self,
        airflow: Airflow,
        console: Console,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._airflow = airflow
        self._console = console
        self._clock = clock
        self._sleep = sleep

    def run(self) -> None:
        """Start the DAG, or join a run that is under way, and follow it to its end.

        Raises:
            ControlError: a task failed (with the end of its log), or the run does not end.
        """
        self._wait_until_listed()
        run_id = self._airflow.active_run(DAG_ID)
        if run_id:
            self._console.say(f"    {DAG_ID} is running already: following {run_id}")
        else:
            run_id = self._airflow.trigger(DAG_ID)
            self._console.say(f"    started {DAG_ID}: {run_id}")
        try:
            self._follow(run_id)
        except (Interrupted, KeyboardInterrupt):
            self._console.say(f"    {DAG_ID} goes on in Airflow; `make pipeline` follows it again")
            raise

    def _wait_until_listed(self) -> None:
        deadline = self._clock() + _LISTED_SECONDS
        while True:
            dag = self._airflow.dag(DAG_ID)
            if dag:
                break
            if self._clock() >= deadline:
                errors = "".join(f"\n  {error}" for error in self._airflow.import_errors())
                raise ControlError(
                    f"Airflow does not list the DAG {DAG_ID}. Is the DAG processor healthy "
                    f"(`make status`)?{errors}"
                )
            self._sleep(_POLL_SECONDS)
        if dag["is_paused"]:
            self._airflow.unpause(DAG_ID)

    def _follow(self, run_id: str) -> None:
        began = last_change = last_answer = self._clock()
        shown: dict[str, str] = {}
        told_stuck = False
        while True:
            try:
                state = self._airflow.run_state(DAG_ID, run_id)
                tasks = self._airflow.task_instances(DAG_ID, run_id)
                last_answer = self._clock()
            except UnreachableError:
                if self._clock() - last_answer > _UNREACHABLE_SECONDS:
                    raise
                self._sleep(_POLL_SECONDS)
                continue
            if self._show_changes(tasks, shown, began):
                last_change = self._clock()
            if state not in ACTIVE_STATES:
                break
            if self._clock() - began > _RUN_SECONDS:
                raise ControlError(
                    f"{DAG_ID} has not ended after {duration(_RUN_SECONDS)}; {run_id}"
                )
            nothing_runs = not any(task.state in _BUSY_STATES for task in tasks)
            if nothing_runs and not told_stuck and self._clock() - last_change > _STUCK_SECONDS:
                told_stuck = True
                self._console.say(
                    f"    no task has started for {duration(_STUCK_SECONDS)}: `make status` in "
                    "another terminal shows whether scheduler and workers are healthy"
                )
            self._sleep(_POLL_SECONDS)
        took = duration(self._clock() - began)
        if state != "success":
            raise ControlError(self._explain(run_id, state, tasks))
        self._console.say(f"    {DAG_ID} succeeded after {took}")

    def _show_changes(self, tasks: list[TaskInstance], shown: dict[str, str], began: float) -> bool:
        """Print a line for each task whose state has changed; tell whether there was one."""
        changed = False
        for task in tasks:
            if task.state not in _SHOWN_STATES or shown.get(task.label) == task.state:
                continue
            shown[task.label] = task.state
            changed = True
            elapsed = int(self._clock() - began)
            took = ""
            if task.state == "success" and task.seconds is not None:
                took = f" ({duration(task.seconds)})"
            self._console.say(
                f"    {elapsed // 60:2d}:{elapsed % 60:02d}  {task.label:<40} {task.state}{took}"
            )
        return changed

    def _explain(self, run_id: str, state: str, tasks: list[TaskInstance]) -> str:
        failed = [task for task in tasks if task.state == "failed"]
        if not failed:
            return f"{DAG_ID} ended as {state}, and none of its tasks failed; {self._link(run_id)}"
        task = failed[0]
        try:
            lines = self._airflow.log(DAG_ID, run_id, task)[-_LOG_LINES:]
        except ControlError as error:
            lines = [f"(its log cannot be read: {error})"]
        listed = "".join(f"\n  {line}" for line in lines)
        names = ", ".join(task.label for task in failed)
        return (
            f"{DAG_ID} failed in {names}. The end of the log of {task.label}:{listed}\n"
            f"All of it: {self._link(run_id)}\nOnce that is mended, `make pipeline` runs it again."
        )

    def _link(self, run_id: str) -> str:
        return f"{self._airflow.url}/dags/{DAG_ID}/runs/{run_id}"
