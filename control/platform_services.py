"""The services of a deployed platform as its user meets them: address, login, purpose."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from control.airflow import Airflow
from control.ansible import Ansible
from control.console import Console, table
from control.inference import PATIENCE_SECONDS, Inference
from control.pipeline import DAG_ID, Pipeline
from control.project import Project
from control.terraform import Machine

_AIRFLOW_USER = "admin"
# Stands in tables for what there is not.
_NONE = "-"
# What a browser asks where an address names no port.
_USUAL_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Service:
    """A service with a published port.

    Attributes:
        port_name: its key in `published_ports` of Ansible's `group_vars`, and its site's name.
        title: what it is called.
        purpose: what one finds there.
        container: what runs it; replicas have a number behind that name.
        path: page to begin with.
        user: name to log in with, "" where there is none or the secret below holds it.
        user_secret: the name's file in the folder of secrets, "" where it is no secret.
        password_secret: the password's file there, "" for a service without a login.
    """

    port_name: str
    title: str
    purpose: str
    container: str
    path: str = "/"
    user: str = ""
    user_secret: str = ""
    password_secret: str = ""

    def shown_user(self, show_secret: Callable[[str], str]) -> str:
        """The user's name for a table.

        Args:
            show_secret: what is shown of a name that is a secret, by the secret's name.
        """
        if self.user_secret:
            return show_secret(self.user_secret)
        return self.user or _NONE


SERVICES = (
    Service(
        "portal",
        "Portal",
        "all of this on one page, with its health",
        "portal",
        user="operator",
        password_secret="portal_password",  # noqa: S106 - a file's name
    ),
    Service(
        "inference_api",
        "Inference API",
        "predictions, and how to ask for them",
        "inference-api",
        "/docs",
    ),
    Service(
        "airflow",
        "Airflow",
        "the pipeline's DAGs and their runs",
        "airflow-api-server",
        user=_AIRFLOW_USER,
        password_secret="airflow_admin_password",  # noqa: S106 - a file's name
    ),
    Service(
        "mlflow",
        "MLflow",
        "runs, metrics and registered models",
        "mlflow",
        user="admin",
        password_secret="mlflow_admin_password",  # noqa: S106 - a file's name
    ),
    Service(
        "minio_console",
        "MinIO",
        "the stored models",
        "minio",
        user_secret="minio_root_user",  # noqa: S106 - a file's name
        password_secret="minio_root_password",  # noqa: S106 - a file's name
    ),
    Service(
        "pgadmin",
        "pgAdmin",
        "the loaded rows, to read",
        "pgadmin",
        user="admin@mlops.example",
        password_secret="pgadmin_password",  # noqa: S106 - a file's name
    ),
    Service(
        "jupyterlab",
        "JupyterLab",
        "notebooks with the pipeline's libraries",
        "jupyterlab",
        password_secret="jupyterlab_password",  # noqa: S106 - a file's name
    ),
    Service(
        "data_api", "Data API", "the outside source of the data, in batches", "data-api", "/docs"
    ),
)


class Platform:
    """The deployed platform.

    Attributes:
        machine: the machine that carries it.
    """

    def __init__(self, project: Project, machine: Machine, ansible: Ansible) -> None:
        self.machine = machine
        self._project = project
        variables = ansible.variables(machine)
        self._ports: dict[str, Any] = variables["published_ports"]
        self._encrypted = {site["name"] for site in variables["nginx_sites"] if site.get("tls")}

    def url(self, port_name: str) -> str:
        """The address of a service, without a slash at its end."""
        port = self._ports[port_name]
        scheme = "https" if port_name in self._encrypted else "http"
        usual = port == _USUAL_PORTS[scheme]
        return f"{scheme}://{self.machine.address}" + ("" if usual else f":{port}")

    def address_of(self, container: str) -> str:
        """Where users find what runs in a container, "" where they do not."""
        for service in SERVICES:
            if re.fullmatch(rf"{re.escape(service.container)}(-\d+)?", container):
                return self.url(service.port_name)
        return ""

    def inference(self, patience: float = PATIENCE_SECONDS) -> Inference:
        """The inference API.

        Args:
            patience: seconds to ask again while no replica answers.
        """
        url, trusted = self.url("inference_api"), self._project.trusted
        return Inference(url, trusted=trusted, patience=patience)

    def pipeline(self, console: Console) -> Pipeline:
        """The pipeline, with Airflow's administrator logged in.

        Raises:
            ControlError: the password's file is not there.
        """
        password = self._project.secret("airflow_admin_password")
        airflow = Airflow(self.url("airflow"), _AIRFLOW_USER, password, self._project.trusted)
        return Pipeline(airflow, console)

    def predict(self, console: Console, body: object) -> None:
        """Send a prediction and print what goes and comes.

        Raises:
            ControlError: it is not answered.
        """
        inference = self.inference()
        console.say(f"    POST {inference.url}/predict {json.dumps(body)}")
        console.say(f"    -> {json.dumps(inference.predict(body))}")

    def logins(self, others: Sequence[Sequence[str]] = ()) -> list[str]:
        """A table of the services with a login, with their passwords.

        Args:
            others: rows for what is on other machines.

        Raises:
            ControlError: the file of one is not there.
        """
        rows = [
            [
                service.title,
                self.url(service.port_name) + service.path,
                service.shown_user(self._project.secret),
                self._project.secret(service.password_secret),
            ]
            for service in SERVICES
            if service.password_secret
        ]
        return table(["Service", "Address", "User", "Password"], [*rows, *map(list, others)])

    def summary(self) -> list[str]:
        """Lines that tell what there is now and what to try next."""
        rows = [
            [
                service.title,
                self.url(service.port_name) + service.path,
                service.purpose,
                service.shown_user(lambda name: f"see {name}"),
                service.password_secret or _NONE,
            ]
            for service in SERVICES
        ]
        return [
            *table(["Service", "Address", "What is there", "User", "Password file"], rows),
            "",
            f"The password files are in {self._project.secrets}; `make passwords` prints them.",
            "Browsers ask about the certificates until they trust who signed them: `make trust`.",
            f"The machine: ssh -i {self.machine.ssh_private_key_file} "
            f"{self.machine.user}@{self.machine.address}",
            "",
            "Next:",
            "  make predict             send the example again",
            f"  make pipeline            run {DAG_ID}: new data, training, search, promotion",
            "  make models              the versions of the model, and which is in production",
            "  make scale REPLICAS=4    cut the same budget into four replicas",
            "  make status              how the services are",
        ]
