"""Asks the inference API."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from control.errors import ControlError
from control.rest import Answer, UnreachableError, send

DEFAULT_MODEL = "modelo1"
EXAMPLE = Path(__file__).parent / "example.json"

# Replicas look for a new model every few seconds and load it in the background; at an eighth of
# a processor a large one takes a while.
PATIENCE_SECONDS = 120.0
_POLL_SECONDS = 1.0
# What nginx itself answers while no replica does.
_NGINX_ALONE = (502, 504)


@dataclass(frozen=True)
class Model:
    """A registered model in production.

    Attributes:
        name: the model.
        version: its version.
    """

    name: str
    version: str


class Inference:
    """The inference API at one address.

    Args:
        url: the base address.
        trusted: files with certificates that are trusted besides the host's.
        patience: seconds to ask again while no replica answers.
    """

    def __init__(
        self,
        url: str,
        *,
        trusted: tuple[Path, ...] = (),
        patience: float = PATIENCE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = url
        self._trusted = trusted
        self._patience = patience
        self._clock = clock
        self._sleep = sleep

    def production_model(self, name: str = DEFAULT_MODEL) -> Model | None:
        """The version of a model that is in production, None before the first.

        Raises:
            ControlError: the API does not answer as it should, or cannot ask the registry.
        """
        deadline = self._clock() + self._patience
        while True:
            # One answer has both: what this replica knows, and whether it could ask. A replica
            # that has just started knows nothing yet, which must not pass for "no model".
            live = self._ask(lambda: self._send("GET", "/health/live"))
            for model in live.body["models"]:
                if model["name"] == name:
                    return Model(model["name"], str(model["version"]))
            if live.body["registry"] == "reachable":
                return None
            if self._clock() >= deadline:
                raise ControlError(
                    f"The inference API at {self.url} cannot reach MLflow, so nobody knows which "
                    "model is in production; `make status` shows both."
                )
            self._sleep(_POLL_SECONDS)

    def predict(self, body: object) -> dict[str, Any]:
        """Predict, waiting for the first model if it has only just been registered.

        Raises:
            ControlError: the API refuses the body, or has no model.
        """
        answer = self._ask(
            lambda: self._send("POST", "/predict", body), passing=(*_NGINX_ALONE, 503)
        )
        result: dict[str, Any] = answer.body
        return result

    def _send(self, method: str, path: str, body: object = None) -> Answer:
        return send(method, f"{self.url}{path}", body, trusted=self._trusted)

    def _ask(
        self, request: Callable[[], Answer], passing: tuple[int, ...] = _NGINX_ALONE
    ) -> Answer:
        """Ask again while nobody answers, or with a status that should pass."""
        deadline = self._clock() + self._patience
        while True:
            try:
                answer = request()
            except UnreachableError:
                if self._clock() >= deadline:
                    raise
            else:
                if answer.status == 200 and isinstance(answer.body, dict):
                    return answer
                if answer.status not in passing or self._clock() >= deadline:
                    raise ControlError(
                        f"The inference API at {self.url} answered {answer.status}: {answer.detail}"
                    )
            self._sleep(_POLL_SECONDS)


def example() -> dict[str, Any]:
    """The example that the README sends."""
    result: dict[str, Any] = json.loads(EXAMPLE.read_text())
    return result
