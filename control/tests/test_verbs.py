import json
from pathlib import Path

import pytest

from control import host, verbs
from control.environments import Environment, Environments
from control.errors import ControlError
from control.host import GIB, Host
from control.loadtest import Load, Locust, Result
from control.packages import BASE_PACKAGES, INCUS_PACKAGES
from control.platform_services import SERVICES
from control.project import Network, Project
from control.runner import Completed
from control.study import Study
from control.terraform import DEMAND_FILE
from control.tests.conftest import FakeRunner, FakeServer, Screen
from control.tests.test_incus import NOT_FOUND, initialised
from control.tests.test_loadtest import requests
from control.tests.test_status import description
from control.tests.test_terraform import MACHINE, outputs
from control.verbs import Verbs

HOST = Host(
    system={"ID": "debian", "VERSION_ID": "12"},
    user_id=0,
    cores=2,
    available_memory=16 * GIB,
    free_disk=80 * GIB,
    free_pool=None,
    routes=[],
    name_server_everywhere=False,
    has_apt=True,
    has_ca_bundle=True,
)


class Deployment:
    """A host on which all is made, and the two services that `up` asks, on one server."""

    def __init__(self, project: Project, runner: FakeRunner, server: FakeServer) -> None:
        self.version: str | None = None
        self.project = project
        self.runner = runner
        self.server = server
        server.answer = self.answer
        port = server.url.rpartition(":")[2]
        ports = dict.fromkeys((service.port_name for service in SERVICES), port)
        programs = project.environments / "control" / "bin"
        packages = [f"{name} installed\n" for name in (*BASE_PACKAGES, *INCUS_PACKAGES)]
        initialised(runner)
        terraform = f"/bin/terraform -chdir={project.terraform}"
        runner.replies |= {
            "dpkg-query": "".join(packages),
            "incus query /1.0/instances/mlops": '{"status": "Running"}',
            f"{terraform} output": outputs({"mlops": MACHINE | {"address": "127.0.0.1"}}),
            f"{programs}/ansible-inventory": json.dumps(
                # The server of the tests answers in plain: no site has a certificate.
                {"published_ports": ports, "nginx_sites": []}
            ),
        }
        project.secrets.mkdir(parents=True)
        (project.secrets / "airflow_admin_password").write_text("secret\n")

    def answer(self, method: str, path: str, body: object) -> tuple[int, object]:
        known = [{"name": "modelo1", "version": self.version}] if self.version else []
        if path == "/health/live":
            return 200, {"registry": "reachable", "models": known}
        if path == "/predict":
            return (200, {"predictions": [{"class_number": 5}]}) if known else (503, {})
        if path == "/auth/token":
            return 201, {"access_token": "t"}
        if path.endswith("Flujo_completo"):
            return 200, {"is_paused": False}
        if "/dagRuns?" in path:
            return 200, {"dag_runs": []}
        if method == "POST":
            self.version = "1"
            return 200, {"dag_run_id": "r1"}
        if "/taskInstances" in path:
            return 200, {"task_instances": [], "total_entries": 0}
        return 200, {"state": "success"}


@pytest.fixture
def deployment(
    project: Project, runner: FakeRunner, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> Deployment:
    def note_guard(_: object, network: Network) -> None:
        runner.commands.append(f"guard {network.subnet}")

    def control_environment(self: Environments) -> Environment:
        return self.control

    monkeypatch.setattr(host, "read_host", lambda: HOST)
    monkeypatch.setattr(verbs, "ensure_guard", note_guard)
    monkeypatch.setattr(verbs, "ensure_program", lambda *_: Path("/bin/terraform"))
    monkeypatch.setattr("control.terraform.find_program", lambda *_: Path("/bin/terraform"))
    monkeypatch.setattr(Environments, "ensure_control", control_environment)
    return Deployment(project, runner, server)


@pytest.fixture
def this(deployment: Deployment, screen: Screen) -> Verbs:
    return Verbs(deployment.project, deployment.runner, screen)


def position(runner: FakeRunner, part: str) -> int:
    """Where a command comes in the order of calls."""
    return next(index for index, command in enumerate(runner.commands) if part in command)


def test_up_goes_from_the_host_to_a_prediction(
    this: Verbs, runner: FakeRunner, screen: Screen
) -> None:
    runner.replies["incus query /1.0/networks/br9"] = NOT_FOUND
    this.up()
    order = ["guard 10.9.8.0/24", "network create br9", "init", "apply", "playbook site.yml"]
    places = [position(runner, part) for part in order]
    assert places == sorted(places)
    for number in range(1, 9):
        assert f"[{number}/8] done in" in screen.text
    assert "started Flujo_completo: r1" in screen.text
    assert '"class_number": 5' in screen.text
    for part in ("Airflow", "airflow_admin_password", "make scale REPLICAS=4"):
        assert part in screen.text.rpartition("[8/8]")[2]
    assert "secret" not in screen.text.replace(str(this.project.secrets), "")


def test_second_up_starts_and_trains_nothing(
    this: Verbs, deployment: Deployment, screen: Screen, runner: FakeRunner
) -> None:
    deployment.version = "7"
    this.up()
    assert "version 7 in production already" in screen.text
    assert not [path for _, path, _ in deployment.server.requests if "dagRuns" in path]
    assert not runner.called("incus start")
    assert not runner.called("apt-get")


def test_up_starts_a_machine_that_was_shut_down(
    this: Verbs, deployment: Deployment, runner: FakeRunner
) -> None:
    deployment.version = "7"
    runner.replies["incus query /1.0/instances/mlops"] = '{"status": "Stopped"}'
    this.up()
    started = position(runner, "incus start mlops")
    assert position(runner, "apply") < started < position(runner, "playbook site.yml")


def test_up_touches_nothing_on_a_host_that_is_not_ready(
    this: Verbs, runner: FakeRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "read_host", lambda: Host(**{**vars(HOST), "cores": 1}))
    with pytest.raises(ControlError, match="not ready"):
        this.up()
    assert runner.commands == []


def test_up_stops_at_a_failed_deployment(
    this: Verbs, runner: FakeRunner, project: Project, deployment: Deployment
) -> None:
    playbook = f"{project.environments}/control/bin/ansible-playbook"
    runner.replies[playbook] = Completed(2)
    with pytest.raises(ControlError, match="ended with code 2"):
        this.up()
    assert deployment.server.requests == []


def test_scale_keeps_the_choice_and_plays(
    this: Verbs, runner: FakeRunner, project: Project
) -> None:
    this.scale("4")
    assert json.loads(project.settings.read_text()) == {"inference_replicas": 4}
    assert runner.commands[-1].endswith(
        "ansible-playbook playbooks/scale.yml --extra-vars '{\"inference_replicas\": 4}'"
    )
    assert runner.folders[-1] == project.ansible


def test_scale_changes_nothing_where_nothing_is_deployed(
    this: Verbs, runner: FakeRunner, project: Project
) -> None:
    runner.replies[f"/bin/terraform -chdir={project.terraform} output"] = "{}"
    with pytest.raises(ControlError, match="Nothing is deployed"):
        this.scale("4")
    with pytest.raises(ControlError, match="REPLICAS"):
        this.scale("none")
    assert not project.settings.exists()


def test_down_stops_what_runs(this: Verbs, runner: FakeRunner) -> None:
    this.down()
    assert runner.called("incus stop") == ["incus stop mlops --timeout=120"]
    runner.replies["incus query /1.0/instances/mlops"] = '{"status": "Stopped"}'
    this.down()
    assert len(runner.called("incus stop")) == 1


def test_destroy_removes_machines_then_secrets(
    this: Verbs, runner: FakeRunner, project: Project
) -> None:
    project.settings.write_text("{}")
    runner.replies[f"/bin/terraform -chdir={project.terraform} destroy"] = Completed(1)
    with pytest.raises(ControlError):
        this.destroy(confirmed=True)
    assert list(project.secrets.iterdir()), "a machine that stays keeps its passwords"
    del runner.replies[f"/bin/terraform -chdir={project.terraform} destroy"]
    this.destroy(confirmed=True)
    assert not list(project.secrets.iterdir())
    assert not project.settings.exists()


def test_destroy_needs_a_person_or_confirm(this: Verbs, runner: FakeRunner) -> None:
    with pytest.raises(ControlError, match="CONFIRM=yes"):
        this.destroy(confirmed=False)
    assert runner.commands == []


def test_status_is_well_only_with_every_service(
    this: Verbs, deployment: Deployment, runner: FakeRunner, screen: Screen
) -> None:
    deployment.version = "7"
    runner.replies["ssh"] = "[]\n=== stats\n"
    assert this.status()
    assert "modelo1: version 7 is in production" in screen.text
    runner.replies["incus query /1.0/instances/mlops"] = '{"status": "Stopped"}'
    assert not this.status()


def test_status_tells_where_services_are(
    this: Verbs, runner: FakeRunner, screen: Screen, server: FakeServer
) -> None:
    names = ("inference-api-2", "airflow-worker-1")
    described = json.dumps([description(name) for name in names])
    runner.replies["ssh"] = f"{described}\n=== stats\n"
    this.status()
    lines = screen.text.splitlines()
    assert next(line for line in lines if "inference-api-2" in line).endswith(f"  {server.url}")
    assert next(line for line in lines if "airflow-worker-1" in line).endswith("  -")


def test_logs_are_those_of_the_platform_machine(this: Verbs, runner: FakeRunner) -> None:
    runner.replies["ssh"] = "nginx\n"
    this.logs("nginx")
    assert "docker logs" in runner.called("ssh")[-1]
    with pytest.raises(ControlError, match="with one of nginx"):
        this.logs("apache")


def test_passwords_are_printed_for_every_login(
    this: Verbs, project: Project, screen: Screen
) -> None:
    names = {
        name for service in SERVICES for name in (service.user_secret, service.password_secret)
    }
    for name in names - {""}:
        (project.secrets / name).write_text(f"value-of-{name}\n")
    this.passwords()
    lines = [line.split() for line in screen.text.splitlines()]
    assert [line[-2:] for line in lines if line[0] == "MLflow"] == [
        ["admin", "value-of-mlflow_admin_password"]
    ]
    assert [line[-2:] for line in lines if line[0] == "MinIO"] == [
        ["value-of-minio_root_user", "value-of-minio_root_password"]
    ]
    assert [line[-2:] for line in lines if line[0] == "JupyterLab"] == [
        ["-", "value-of-jupyterlab_password"]
    ]
    assert "Data API" not in screen.text
    (project.secrets / "minio_root_user").unlink()
    with pytest.raises(ControlError, match="minio_root_user is missing"):
        this.passwords()


def test_pipeline_always_runs(this: Verbs, deployment: Deployment, screen: Screen) -> None:
    deployment.version = "7"
    this.pipeline()
    assert "Flujo_completo succeeded" in screen.text


def test_pipeline_without_a_password(this: Verbs, project: Project) -> None:
    (project.secrets / "airflow_admin_password").unlink()
    with pytest.raises(ControlError, match="airflow_admin_password is missing"):
        this.pipeline()


def test_models_are_promoted_on_the_platform_machine(this: Verbs, runner: FakeRunner) -> None:
    assert this.models()
    assert this.rollback()
    assert this.promote("3")
    assert "covertype.production" in runner.called("ssh")[-1]
    runner.replies["ssh"] = Completed(1)
    assert not this.promote("3")
    with pytest.raises(ControlError, match="VERSION"):
        this.promote("latest")


LOAD_MACHINE = MACHINE | {"address": "127.0.0.1", "groups": ["loadtest"]}


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Load]:
    """The loads that were run, each with an answer to all requests."""
    loads: list[Load] = []

    def run(self: Locust, load: Load) -> Result:
        loads.append(load)
        return Result(requests(), "Method,Name,Error,Occurrences\n")

    monkeypatch.setattr(Locust, "run", run)
    return loads


@pytest.fixture
def demand(deployment: Deployment, runner: FakeRunner, project: Project) -> Path:
    """A platform that predicts; the machine that makes load is there once it is in this file."""
    deployment.version = "7"
    platform = MACHINE | {"address": "127.0.0.1"}
    demand = project.terraform / DEMAND_FILE
    runner.replies["incus query /1.0/instances/loadtest"] = '{"status": "Stopped"}'
    ansible = f"{project.environments}/control/bin/ansible-inventory"
    runner.replies[f"{ansible} --host loadtest"] = json.dumps(
        {"locust_port": 8089, "locust_user": "locust"}
    )
    (project.secrets / "locust_password").write_text("of-locust\n")

    def machines(_: str) -> Completed:
        made = {"loadtest": LOAD_MACHINE} if demand.exists() else {}
        return Completed(0, outputs({"mlops": platform, **made}))

    runner.replies[f"/bin/terraform -chdir={project.terraform} output"] = machines
    return demand


def test_loadtest_makes_its_machine_and_keeps_the_tables(
    this: Verbs,
    demand: Path,
    runner: FakeRunner,
    project: Project,
    screen: Screen,
    counted: list[Load],
) -> None:
    assert this.loadtest("500", "60")
    assert json.loads(demand.read_text()) == {"machines_in_demand": ["loadtest"]}
    order = ["apply", "incus start loadtest", "playbook playbooks/loadtest.yml"]
    places = [position(runner, part) for part in order]
    assert places == sorted(places)
    assert counted == [Load(500, 60)]
    (folder,) = project.load_tests.iterdir()
    assert folder.name.endswith("-500-users")
    assert "/predict" in screen.text
    this.destroy(confirmed=True)
    assert not demand.exists()


def test_loadtest_needs_a_model_in_production(this: Verbs, runner: FakeRunner) -> None:
    with pytest.raises(ControlError, match="no version in production"):
        this.loadtest("500", "60")
    assert "apply" not in str(runner.commands)


def test_loadtest_needs_a_target_that_answers(
    this: Verbs, deployment: Deployment, runner: FakeRunner
) -> None:
    deployment.server.close()
    with pytest.raises(ControlError, match="nothing listens there"):
        this.loadtest("500", "60")
    assert "apply" not in str(runner.commands)


def test_loadtest_says_where_its_machine_is_to_be_described(
    this: Verbs, deployment: Deployment, counted: list[Load]
) -> None:
    deployment.version = "7"
    with pytest.raises(ControlError, match="No machine is in the group loadtest"):
        this.loadtest("500", "60")
    assert counted == []


@pytest.mark.usefixtures("demand")
@pytest.mark.parametrize("short", [True, False])
def test_study_measures_and_writes_its_page(
    this: Verbs,
    runner: FakeRunner,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    short: bool,
) -> None:
    measured: list[Path] = []
    monkeypatch.setattr(Study, "run", lambda self: measured.append(self._folder))
    page_environment = Environment(project.environments / "page")
    monkeypatch.setattr(Environments, "ensure", lambda *_: page_environment)
    this.study(short=short)
    results = project.short_study if short else project.study
    page = results if short else project.results_page
    assert measured == [results]
    assert runner.commands[-1] == (f"{page_environment.python} -m scaling_report {results} {page}")


@pytest.mark.usefixtures("demand")
@pytest.mark.parametrize(
    ("short", "under_way", "kept"), [(True, True, True), (True, False, False), (False, False, True)]
)
def test_study_begins_anew_only_what_was_tried_and_has_ended(
    this: Verbs,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    short: bool,
    under_way: bool,
    kept: bool,
) -> None:
    point = (project.short_study if short else project.study) / "point.json"
    point.parent.mkdir(parents=True)
    point.touch()
    monkeypatch.setattr(Study, "is_under_way", lambda _: under_way)
    monkeypatch.setattr(Study, "run", lambda _: None)
    monkeypatch.setattr(Environments, "ensure", lambda *_: Environment(project.environments))
    this.study(short=short)
    assert point.exists() == kept
