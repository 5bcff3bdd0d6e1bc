"""Client of the data API, which hands the data out in timed batches."""

from dataclasses import dataclass
from typing import Any

import requests

from covertype.errors import PipelineError

BATCH_SECONDS = 5.0
"""How long a batch lasts when the data API does not say."""
SECONDS_HEADER = "X-Seconds-To-Next-Batch"
GROUPS = range(1, 11)
# Seconds to connect, and to wait for the next bytes of an answer.
_TIMEOUT = (5.0, 30.0)


@dataclass(frozen=True)
class Batch:
    """One answer of the data API.

    Attributes:
        number: The batch the rows were drawn from.
        rows: The drawn rows as they were sent, not checked.
        seconds_left: Until a call gets rows of the next batch.
    """

    number: int
    rows: list[Any]
    seconds_left: float


class DataSource:
    """The data API as one group sees it.

    Args:
        base_url: Its address.
        group: The group's number.
        fraction: How much of each batch to ask for, above 0 and at most 1.
    """

    def __init__(self, base_url: str, group: int, fraction: float) -> None:
        self._base_url = base_url.rstrip("/")
        self.group = group
        self.fraction = fraction
        self._session = requests.Session()

    def fetch(self) -> Batch:
        """Draw random rows of the current batch.

        Raises:
            PipelineError: The data API does not answer, has handed out everything, or answers
                something else than a batch.
        """
        response = self._get("data", fraction=self.fraction)
        try:
            body = response.json()
            number, rows = int(body["batch_number"]), body["data"]
            seconds_left = float(response.headers.get(SECONDS_HEADER, BATCH_SECONDS))
        except (ValueError, KeyError, TypeError) as error:
            raise PipelineError(
                f"The data API at {self._base_url} sent something else than a batch ({error!r}): "
                "check that the connection covertype_data_api points to it."
            ) from error
        if not isinstance(rows, list) or not rows:
            raise PipelineError(
                f"The data API sent batch {number} without rows: look at its log, and check the "
                "variable covertype_fraction."
            )
        return Batch(number, rows, seconds_left)

    def restart(self) -> None:
        """Make the group start again at its first batch.

        Raises:
            PipelineError: The data API does not answer or refuses.
        """
        self._get("restart_data_generation")

    def _get(self, path: str, **parameters: float) -> requests.Response:
        url = f"{self._base_url}/{path}"
        try:
            response = self._session.get(
                url, params={"group_number": self.group, **parameters}, timeout=_TIMEOUT
            )
        except requests.RequestException as error:
            raise PipelineError(
                f"The data API does not answer at {url} ({type(error).__name__}): start it, then "
                "run this task again."
            ) from error
        if response.status_code == requests.codes.bad_request:
            raise PipelineError(
                f"The data API gives group {self.group} no more data ({_detail(response)}). "
                "Run the DAG Borrar_datos, which starts the group again, then Cargar_datos."
            )
        if not response.ok:
            raise PipelineError(
                f"The data API answered {response.status_code} to {url} ({_detail(response)}): "
                "look at its log, then run this task again."
            )
        return response


def _detail(response: requests.Response) -> str:
    try:
        body: Any = response.json()
        return str(body["detail"]).rstrip(".")
    except (ValueError, KeyError, TypeError):
        return response.text[:200]
