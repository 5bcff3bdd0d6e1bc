"""The services of a deployed platform as its user meets them: address, login, purpose."""

import json
from dataclasses import dataclass
from typing import Any

from control.airflow import Airflow
from control.ansible import Ansible
from control.console import Console, table
from control.errors import ControlError
from control.inference import PATIENCE_SECONDS, Inference
from control.pipeline import DAG_ID, Pipeline
from control.project import Project
from control.terraform import Machine

_AIRFLOW_USER = "admin"


@dataclass(frozen=True)
class Service:
    """A service with a published port.

    Attributes:
        port_name: its key in `published_ports` of Ansible's `group_vars`.
        title: what it is called.
        purpose: what one finds there.
        path: page to begin with.
        login: user's name, the file with it, or "" for a service without a login.
        password_file: file in the folder of secrets, "" for a service without a login.
    """

    port_name: str
    title: str
    purpose: str
    path: str = "/"
    login: str = ""
    password_file: str = ""


SERVICES = (
    Service("inference_api", "Inference API", "predictions, and how to ask for them", "/docs"),
    Service(
        "airflow",
        "Airflow",
        "the pipeline's DAGs and their runs",
        login=_AIRFLOW_USER,
        password_file="airflow_admin_password",  # noqa: S106 - a file's name
    ),
    Service(
        "mlflow",
        "MLflow",
        "runs, metrics and registered models",
        login="admin",
        password_file="mlflow_admin_password",  # noqa: S106 - a file's name
    ),
    Service(
        "minio_console",
        "MinIO",
        "the stored models",
        login="see minio_root_user",
        password_file="minio_root_password",  # noqa: S106 - a file's name
    ),
    Service("data_api", "Data API", "the outside source of the data, in batches", "/docs"),
)


class Platform:
    """The deployed platform.

    Attributes:
        machine: the machine that carries it.
    """

    def __init__(self, project: Project, machine: Machine, ansible: Ansible) -> None:
        self.machine = machine
        self._project = project
        self._ports: dict[str, Any] = ansible.variables(machine)["published_ports"]

    def url(self, port_name: str) -> str:
        """The address of a service, without a slash at its end."""
        port = self._ports[port_name]
        return f"http://{self.machine.address}" + ("" if port == 80 else f":{port}")

    def inference(self, patience: float = PATIENCE_SECONDS) -> Inference:
        """The inference API.

        Args:
            patience: seconds to ask again while no replica answers.
        """
        return Inference(self.url("inference_api"), patience=patience)

    def pipeline(self, console: Console) -> Pipeline:
        """The pipeline, with Airflow's administrator logged in.

        Raises:
            ControlError: the password's file is not there.
        """
        path = self._project.secrets / "airflow_admin_password"
        try:
            password = path.read_text().strip()
        except FileNotFoundError:
            raise ControlError(f"{path} is missing. Run `make up`, which sets passwords.") from None
        return Pipeline(Airflow(self.url("airflow"), _AIRFLOW_USER, password), console)

    def predict(self, console: Console, body: object) -> None:
        """Send a prediction and print what goes and comes.

        Raises:
            ControlError: it is not answered.
        """
        inference = self.inference()
        console.say(f"    POST {inference.url}/predict {json.dumps(body)}")
        console.say(f"    -> {json.dumps(inference.predict(body))}")

    def summary(self) -> list[str]:
        """Lines that tell what there is now and what to try next."""
        rows = [
            [service.title, self.url(service.port_name) + service.path, service.purpose]
            + ([service.login, service.password_file] if service.password_file else ["-", "-"])
            for service in SERVICES
        ]
        return [
            *table(["Service", "Address", "What is there", "User", "Password file"], rows),
            "",
            f"The password files are in {self._project.secrets}.",
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
