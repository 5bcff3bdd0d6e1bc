"""What each verb does, from beginning to end."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from control import host, settings
from control.ansible import Ansible
from control.console import Console, Steps, duration
from control.environments import Environments
from control.errors import ControlError
from control.guard import ensure_guard
from control.incus import Incus
from control.inference import DEFAULT_MODEL, Inference, example
from control.laboratory import DeployedLaboratory
from control.loadtest import GROUP as LOAD_GROUP
from control.loadtest import MACHINE as LOAD_MACHINE
from control.loadtest import Locust, parse_load
from control.logs import show_log
from control.memory import put_in_order
from control.models import Models, parse_version
from control.packages import BASE_PACKAGES, INCUS_PACKAGES, Packages, backports_release
from control.platform_services import Platform
from control.project import Project
from control.runner import Runner
from control.status import show_status, ssh_command
from control.study import Study
from control.study_plan import SHORT, WHOLE
from control.terraform import Machine, Terraform, ensure_program, existing_terraform
from control.testing import PYTHON_PACKAGES, Suite
from control.trust import trust_lines


@dataclass(frozen=True)
class Verbs:
    """The verbs on one repository and this host.

    Attributes:
        project: the repository.
        runner: runs other programs.
        console: talks to the operator.
    """

    project: Project
    runner: Runner
    console: Console

    def up(self) -> None:
        """Deploy everything, from a bare host to the first prediction.

        Each step looks first and does only what is missing, so that a run that was interrupted
        goes on where it stopped.

        Raises:
            ControlError: a step failed; the message says what to do.
        """
        steps = Steps(self.console, total=8)
        network = self.project.network()
        packages = Packages(self.runner, self.console)

        with steps.step("Check the host"):
            this_host = host.read_host()
            for warning in host.check(this_host, network, host.demand_of(self.project)):
                self.console.say(f"    {warning}")
            backports_of = backports_release(this_host.system)

        with steps.step("Install the host's packages"):
            packages.ensure(BASE_PACKAGES)
            packages.ensure(INCUS_PACKAGES, backports_of=backports_of)

        with steps.step("Make the control environment"):
            environment = self._environments().ensure_control()

        with steps.step("Start Incus behind its route guard"):
            incus = self._start_incus()

        with steps.step("Make the machines (Terraform)"):
            program = ensure_program(
                self.project, self.runner, self.console, packages, backports_of
            )
            terraform = Terraform(program, self.project, self.runner, self.console)
            terraform.init()
            self._make_machines(terraform, incus)

        with steps.step("Deploy the services (Ansible)"):
            ansible = Ansible(self.project, self.runner, self.console, environment)
            ansible.play("site.yml")
            platform = Platform(self.project, terraform.platform_machine(), ansible)

        with steps.step("Run the pipeline"):
            model = platform.inference().production_model()
            if model:
                self.console.say(
                    f"    {DEFAULT_MODEL} has version {model.version} in production already; "
                    "`make pipeline` trains anew"
                )
            else:
                platform.pipeline(self.console).run()

        with steps.step("Predict"):
            platform.predict(self.console, example())

        self.console.say()
        for line in platform.summary():
            self.console.say(line)

    def test(self, layer: str | None) -> bool:
        """Run the tests; tell whether all passed.

        Args:
            layer: the one layer to run, None for all.
        """
        packages = Packages(self.runner, self.console)
        release = backports_release(host.read_host().system)
        program = ensure_program(self.project, self.runner, self.console, packages, release)

        def ready_for_machines() -> None:
            packages.ensure(BASE_PACKAGES)
            packages.ensure(INCUS_PACKAGES, backports_of=release)
            self._start_incus()

        return Suite(
            self.project,
            self.runner,
            self.console,
            self._environments(),
            packages,
            program,
            ready_for_machines,
        ).run(layer)

    def status(self) -> bool:
        """Show machines, services and the model in production; tell whether all is well."""
        terraform = existing_terraform(self.project, self.runner, self.console)
        platform = self._platform(terraform)
        well = show_status(
            terraform.machines(), self._incus(), self.runner, self.console, platform.address_of
        )
        if well:
            model = platform.inference(patience=0).production_model()
            version = f"version {model.version} is in production" if model else "none in production"
            self.console.say(f"{DEFAULT_MODEL}: {version}")
        else:
            self.console.say(
                f"{platform.machine.name} needs a look: see the lines marked with `!`."
            )
        return well

    def logs(self, service: str) -> None:
        """Print the last lines that a service logged.

        Args:
            service: a container, or the name that several begin with, as typed.
        """
        terraform = existing_terraform(self.project, self.runner, self.console)
        show_log(terraform.platform_machine(), self.runner, service)

    def passwords(self) -> None:
        """Print address, user and password of every service with a login."""
        terraform = existing_terraform(self.project, self.runner, self.console)
        others = []
        load_machine = terraform.machine_of(LOAD_GROUP)
        if load_machine:
            locust = self._locust(load_machine)
            others.append(["Locust", f"{locust.url}/", *locust.login])
        for line in self._platform(terraform).logins(others):
            self.console.say(line)

    def trust(self) -> None:
        """Tell how to trust the authority that signs the pages' certificates."""
        for line in trust_lines(self.project.authority):
            self.console.say(line)

    def down(self) -> None:
        """Shut the machines down; their data stays."""
        terraform = existing_terraform(self.project, self.runner, self.console)
        incus = self._incus()
        ours = [machine for machine in terraform.machines() if machine.is_ours]
        for machine in ours:
            if incus.state_of(machine.name) == "Running":
                incus.stop(machine.name)
        self.console.say("Stopped; `make up` starts everything again, with its data.")

    def destroy(self, *, confirmed: bool) -> None:
        """Remove the machines with all data, and the secrets and settings.

        Args:
            confirmed: whether the operator has said so already.

        Raises:
            ControlError: nobody confirmed, or a machine could not be removed.
        """
        if not confirmed and not _confirm("Remove the machines, all their data and the secrets?"):
            raise ControlError("Nothing was removed.")
        terraform = existing_terraform(self.project, self.runner, self.console)
        if any(machine.is_ours for machine in terraform.machines()):
            self._incus().ensure_running()
        terraform.destroy()
        for secret in sorted(self.project.secrets.glob("*")):
            secret.unlink()
        # What the operator put beside the authority is the operator's.
        for file in sorted(self.project.certificates.glob("ca.*")):
            file.unlink()
        self.project.settings.unlink(missing_ok=True)
        terraform.forget_demands()
        self.console.say("Everything is removed; `make up` begins from nothing.")

    def pipeline(self) -> None:
        """Run the pipeline's DAG and follow it."""
        terraform = existing_terraform(self.project, self.runner, self.console)
        self._platform(terraform).pipeline(self.console).run()

    def scale(self, replicas: str) -> None:
        """Share the inference budget among another number of replicas, now and from now on.

        Args:
            replicas: their number, as typed.
        """
        number = settings.parse_replicas(replicas)
        terraform = existing_terraform(self.project, self.runner, self.console)
        terraform.platform_machine()
        self._ansible().play("playbooks/scale.yml", {"inference_replicas": number})
        # Kept only now: a number that the budget cannot be cut into must not stop the next `up`.
        settings.save_replicas(self.project, number)

    def models(self) -> bool:
        """List the versions of the model; tell whether that could be done."""
        return self._models().show()

    def promote(self, version: str) -> bool:
        """Put a version into production if it passes the gate; tell whether it did.

        Args:
            version: its number, as typed.
        """
        number = parse_version(version)
        return self._models().promote(number)

    def rollback(self) -> bool:
        """Put the version before into production again; tell whether that was done."""
        return self._models().roll_back()

    def predict(self) -> None:
        """Send the example and print the answer."""
        terraform = existing_terraform(self.project, self.runner, self.console)
        self._platform(terraform).predict(self.console, example())

    def benchmark(self) -> None:
        """Measure how the inference API serves, and write the page of results.

        Raises:
            ControlError: nothing is deployed, or a measurement could not be made.
        """
        terraform = existing_terraform(self.project, self.runner, self.console)
        machine = terraform.platform_machine()
        control = self._environments().ensure_control()
        package = next(package for package in PYTHON_PACKAGES if package.environment == "api")
        environment = self._environments().ensure(
            package.environment, self.project.root / package.lock
        )
        settings_of_it = {
            "address": machine.address,
            "ports": self._ansible().variables(machine)["published_ports"],
            "ssh": ssh_command(machine),
            "ansible_playbook": str(control.programs / "ansible-playbook"),
            "trusted": [str(file) for file in self.project.trusted],
            "mlflow_password_file": str(self.project.secrets / "mlflow_admin_password"),
        }
        put_in_order(self.runner, self.console)
        self.runner.run(
            [environment.python, "-m", "bench", "--measure"],
            cwd=self.project.root / package.folder,
            input_text=json.dumps(settings_of_it),
            echo=True,
        )

    def loadtest(self, users: str, seconds: str) -> bool:
        """Have clients ask the inference API; tell whether all were answered rightly.

        Args:
            users: their number, as typed.
            seconds: how long they are counted, as typed.

        Raises:
            ControlError: there is nothing to ask, or nothing to ask it with.
        """
        load = parse_load(users, seconds)
        steps = Steps(self.console, total=4)
        *_, locust = self._clients(steps)
        with steps.step(f"Ask for {duration(load.seconds)}"):
            self.console.say(f"    {locust.url} shows it as it goes")
            result = locust.run(load)

        now = datetime.now().astimezone()
        folder = self.project.load_tests / f"{now:%Y%m%dT%H%M%S}-{load.users}-users"
        result.save(folder)
        self.console.say()
        for line in result.lines():
            self.console.say(line)
        self.console.say(f"\nThe tables are kept in {folder}.")
        return not result.failed

    def study(self, *, short: bool) -> None:
        """Carry out the scaling study, or go on with it, and write the page of its results.

        Args:
            short: whether to try the machinery only, in a few minutes; its page is no result.

        Raises:
            ControlError: a point cannot be measured; those that were are kept.
        """
        steps = Steps(self.console, total=5)
        terraform, inference, clients, locust = self._clients(steps)
        with steps.step("Measure"):
            put_in_order(self.runner, self.console)
            results = self.project.short_study if short else self.project.study
            laboratory = DeployedLaboratory(
                terraform.platform_machine(),
                clients,
                inference,
                locust,
                self._ansible(),
                self.runner,
            )
            study = Study(SHORT if short else WHOLE, results, laboratory, self.console)
            # What was tried once says nothing about the machinery of today.
            if short and not study.is_under_way():
                shutil.rmtree(results, ignore_errors=True)
            study.run()
        with steps.step("Write the page"):
            lock = self.project.load_tests_source / "requirements-page.txt"
            environment = self._environments().ensure("page", lock)
            page = results if short else self.project.results_page
            self.runner.run(
                [environment.python, "-m", "scaling_report", results, page],
                cwd=self.project.load_tests_source,
                echo=True,
            )

    def lock(self) -> None:
        """Resolve the requirements of every part anew."""
        environments = self._environments()
        environments.ensure_control()
        environments.lock_all()

    def docs(self) -> None:
        """Write the README of every role from what describes the role."""
        environment = self._environments().ensure_control()
        self.runner.run([environment.python, self.project.ansible / "role_readmes.py"], echo=True)

    def _environments(self) -> Environments:
        return Environments(self.project, self.runner, self.console)

    def _clients(self, steps: Steps) -> tuple[Terraform, Inference, Machine, Locust]:
        """Have clients ready on a machine of their own, in three steps.

        Raises:
            ControlError: there is nothing to ask, or nothing to ask it with.
        """
        terraform = existing_terraform(self.project, self.runner, self.console)
        with steps.step("Look at what is to be asked"):
            inference = self._platform(terraform).inference(patience=0)
            model = inference.production_model()
            if model is None:
                raise ControlError(
                    f"{DEFAULT_MODEL} has no version in production, so nothing can be predicted: "
                    "`make pipeline` trains one."
                )
            self.console.say(f"    {inference.url}: {model.name}, version {model.version}")
        with steps.step("Make the machine for the clients (Terraform)"):
            machine = self._load_machine(terraform)
        with steps.step("Deploy the clients (Ansible)"):
            self._ansible().play("playbooks/loadtest.yml")
            locust = self._locust(machine)
        return terraform, inference, machine, locust

    def _locust(self, machine: Machine) -> Locust:
        """The Locust on the machine that makes load, logged in."""
        variables = self._ansible().variables(machine)
        return Locust(
            f"https://{machine.address}:{variables['locust_port']}",
            (variables["locust_user"], self.project.secret("locust_password")),
            self.project.trusted,
            self.console,
        )

    def _make_machines(self, terraform: Terraform, incus: Incus) -> None:
        """Have all machines there and running."""
        terraform.apply()
        for machine in terraform.machines():
            if machine.is_ours and incus.state_of(machine.name) != "Running":
                incus.start(machine.name)

    def _load_machine(self, terraform: Terraform) -> Machine:
        """Have the machine that makes load there and running.

        Raises:
            ControlError: it could not be made, or none is described.
        """
        if terraform.machine_of(LOAD_GROUP) is None:
            terraform.demand(LOAD_MACHINE)
        # Also where it is there: it may have been removed behind Terraform's back.
        self._make_machines(terraform, self._start_incus())
        machine = terraform.machine_of(LOAD_GROUP)
        if machine is None:
            raise ControlError(
                f"No machine is in the group {LOAD_GROUP}: describe one in the variable `machines` "
                "of terraform/, or leave the variable as it is."
            )
        return machine

    def _models(self) -> Models:
        terraform = existing_terraform(self.project, self.runner, self.console)
        return Models(terraform.platform_machine(), self.runner)

    def _start_incus(self) -> Incus:
        """Have Incus running behind its route guard, with what machines need."""
        network = self.project.network()
        ensure_guard(self.runner, network)
        incus = self._incus()
        incus.ensure_running()
        incus.ensure_initialised(network)
        return incus

    def _incus(self) -> Incus:
        return Incus(self.runner, self.console)

    def _ansible(self) -> Ansible:
        environment = self._environments().ensure_control()
        return Ansible(self.project, self.runner, self.console, environment)

    def _platform(self, terraform: Terraform) -> Platform:
        return Platform(self.project, terraform.platform_machine(), self._ansible())


def _confirm(question: str, ask: Callable[[str], str] = input) -> bool:
    """Ask a person; where none is there, ask for CONFIRM=yes instead.

    Raises:
        ControlError: standard input is no terminal.
    """
    if not sys.stdin.isatty():
        raise ControlError("Say CONFIRM=yes where nobody can be asked: `make destroy CONFIRM=yes`.")
    return ask(f"{question} [yes/no] ").strip().lower() == "yes"
