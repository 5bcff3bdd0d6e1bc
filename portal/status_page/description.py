"""What the page tells of, read from a JSON file that the deployment writes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class DescriptionError(Exception):
    """The description is missing or incomplete; the message says what."""


@dataclass(frozen=True)
class Service:
    """A service and how it is asked whether it is well.

    Attributes:
        name: what it is called.
        sentence: what it is for.
        address: where users find it, empty where they do not.
        version: what runs.
        check: an `http://` address that answers with a status below 400 when it is well, or
            `tcp://host:port`, which then takes connections.
    """

    name: str
    sentence: str
    address: str
    version: str
    check: str


@dataclass(frozen=True)
class Link:
    """Something else to look at.

    Attributes:
        title: what it is.
        address: where it is.
    """

    title: str
    address: str


@dataclass(frozen=True)
class Description:
    """All that the page tells of.

    Attributes:
        title: the deployment's name.
        services: in the order they are shown in.
        model_url: the inference API's list of models.
        model_name: the model whose figures are shown.
        airflow_url: Airflow's base address.
        airflow_user: who asks it; the password is the variable `AIRFLOW_PASSWORD`.
        dags: whose last runs are shown.
        links: what else there is.
    """

    title: str
    services: tuple[Service, ...]
    model_url: str
    model_name: str
    airflow_url: str
    airflow_user: str
    dags: tuple[str, ...]
    links: tuple[Link, ...]

    @classmethod
    def read(cls, file: Path) -> "Description":
        """Read the file.

        Raises:
            DescriptionError: it is missing, no JSON, or lacks something.
        """
        try:
            content: dict[str, Any] = json.loads(file.read_text())
            return cls(
                **{
                    **content,
                    "services": tuple(Service(**service) for service in content["services"]),
                    "dags": tuple(content["dags"]),
                    "links": tuple(Link(**link) for link in content["links"]),
                }
            )
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DescriptionError(f"{file}: {error!r}") from error
