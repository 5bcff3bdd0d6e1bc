"""What Locust runs: clients that look for a model, select it, predict with it, and wait."""

import json
import random
import ssl
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeVar

import locust.runners
from locust import FastHttpUser, between, task
from locust.env import Environment

from load_test.answers import Answers, WrongAnswerError
from load_test.many_clients import allow_many_clients
from load_test.settings import WAIT_SECONDS, Settings, SettingsError

try:
    SETTINGS = Settings.read()
except SettingsError as problem:
    sys.exit(str(problem))
allow_many_clients()
# The counts of two processes are as much apart as this; of a dozen seconds, Locust's own three are
# a quarter.
locust.runners.WORKER_REPORT_INTERVAL = 0.5
# A process that is held back, or busy with thousands of clients that come, is not gone after the
# three seconds that Locust would give it.
locust.runners.HEARTBEAT_LIVENESS = 15
ANSWERS = Answers(SETTINGS.model_name)
# One for all clients: each would take a megabyte and a while to make.
TRUST = SETTINGS.trust()
SELECTION = json.dumps({"model_name": SETTINGS.model_name})

_Checked = TypeVar("_Checked")


class ModelClient(FastHttpUser):
    """One client, with connections and a selection of its own."""

    wait_time = between(*WAIT_SECONDS)
    insecure = False

    @staticmethod
    def ssl_context_factory(**_: object) -> ssl.SSLContext:
        """What every connection checks the target's certificate with."""
        return TRUST

    def __init__(self, environment: Environment) -> None:
        # The web page lets one type any address; load goes to the one that the operator set.
        self.host = SETTINGS.target_url
        super().__init__(environment)
        # A third of what a request costs here; the selection is sent as a header instead.
        self.client.client.cookiejar = None

    def on_stop(self) -> None:
        """Hang up: what is left of a client that has gone stays in memory for a while."""
        self.client.client.close()

    @task
    def predict_with_a_model(self) -> None:
        """Ask three things in a row, as somebody does who wants a prediction."""
        self._ask("GET", "/models", ANSWERS.check_models)
        selected = self._ask("POST", "/select-model", ANSWERS.check_selected, SELECTION)
        selection = {selected.header: selected.value} if selected else {}
        # Other clients' questions differ, as the cost of an answer may.
        question = random.choice(SETTINGS.questions)  # noqa: S311 - no secret
        self._ask("POST", "/predict", ANSWERS.check_prediction, question, selection)

    def _ask(
        self,
        method: str,
        path: str,
        check: Callable[[bytes], _Checked],
        body: str | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> _Checked | None:
        """Ask, and have the answer counted; give what the check gives for a right one."""
        headers = {**headers, **({"Content-Type": "application/json"} if body else {})}
        with self.client.request(
            method, path, data=body, headers=headers, catch_response=True
        ) as response:
            if response.status_code == 200:
                try:
                    return check(response.content or b"")
                except WrongAnswerError as error:
                    response.failure(error)
            elif response.status_code:
                response.failure(f"status {response.status_code}")
            # Without a status no answer came; Locust knows why.
        return None
