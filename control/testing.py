"""Runs the tests in layers: the quick ones first, those that need machines after them."""

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from control.ansible import ansible_environment
from control.console import Console, duration, table
from control.environments import Environment, Environments
from control.errors import ControlError
from control.memory import put_in_order
from control.packages import Packages
from control.project import Project
from control.runner import Command, Runner
from control.terraform import tools_path

# The store's tests of `dags/` start a database server of their own.
TEST_PACKAGES = ("postgresql",)
# The browser of the tests in a browser, and what has it trust an authority.
BROWSER_PACKAGES = ("chromium", "libnss3-tools")
# Of what failed checks printed, the ends are repeated after everything else, and after them, where
# they are seen even if the output is cut, the places where it went wrong: with Ansible and pytest
# they are often far from the end. Ansible tells a failed command's words, a line each, before what
# it printed.
_END_LINES = 30
_BEFORE_WRONG, _AFTER_WRONG = 3, 40
_WENT_WRONG = re.compile(r"^\s*fatal: |^E   ")
# One line for each failed check is the very last: pytest's own summary of it where there is one.
_FAILED_TEST = re.compile(r"^(?:FAILED|ERROR) (.*::.*)")
_REASON_LENGTH = 300
# What `molecule/conftest.py` prints at the end of each variant.
_ASSERTIONS = re.compile(r"(\d+) assertions held")
# What the scenarios say in their `molecule.yml` that start from nothing but Debian.
_ON_A_BARE_MACHINE = "begins_on_a_bare_machine: true"


@dataclass(frozen=True)
class PythonPackage:
    """A Python package with its own lock file and tests.

    Attributes:
        folder: the folder that its tests run in.
        sources: what is type-checked there.
        tests: where its unit tests are, from that folder.
        lock: the lock file of its test environment, from the top folder.
        environment: the name of that environment.
    """

    folder: str
    sources: tuple[str, ...]
    tests: tuple[str, ...]
    lock: str
    environment: str

    @property
    def name(self) -> str:
        """What it is called in the table of checks."""
        return self.environment if self.folder == "." else self.folder


# Those of the platform run them, while it is there.
BROWSER_TESTS = PythonPackage(
    "tests/browser", (".",), (), "tests/browser/requirements.txt", "browser"
)
PYTHON_PACKAGES = (
    # What runs on the control host, and the tests of the whole platform.
    PythonPackage(
        ".",
        ("control", "ansible/inventory.py", "ansible/role_readmes.py", "terraform/driver", "tests"),
        ("control/tests", "ansible/tests", "terraform/tests"),
        "control/requirements.txt",
        "control",
    ),
    # The tests of the roles; they run on machines, in a layer of their own.
    PythonPackage("molecule", (".",), (), "control/requirements.txt", "control"),
    PythonPackage(
        "api", ("inference_api", "bench"), ("tests",), "api/requirements-test.txt", "api"
    ),
    PythonPackage(
        "data_api",
        ("covertype_source",),
        ("tests",),
        "data_api/requirements-test.txt",
        "data_api",
    ),
    PythonPackage("portal", ("status_page",), ("tests",), "portal/requirements-test.txt", "portal"),
    PythonPackage("dags", (".",), ("tests",), "dags/requirements-test.txt", "dags"),
    PythonPackage(
        "loadtest",
        ("load_test", "scaling_report"),
        ("tests",),
        "loadtest/requirements-test.txt",
        "loadtest",
    ),
    BROWSER_TESTS,
)


@dataclass(frozen=True)
class Check:
    """One step of a layer.

    Attributes:
        title: what is checked.
        commands: the programs that do it, one after the other, up to the first that fails.
        folder: where they run, from the top folder.
        env: variables for them.
    """

    title: str
    commands: tuple[Command, ...]
    folder: str = "."
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Layer:
    """Tests that need the same things and so run together.

    Attributes:
        name: as `--layer` takes it.
        covers: what it covers, for the operator.
        takes: about how long.
        at_once: how many of its checks run at a time. Where that is one, what a check prints is
            shown as it comes, otherwise only on failure.
        checks: makes ready what the layer needs and gives its checks.
    """

    name: str
    covers: str
    takes: str
    at_once: int
    checks: Callable[[], Iterator[Check]]


@dataclass(frozen=True)
class Outcome:
    """How a check ended.

    Attributes:
        layer: its layer.
        title: what was checked.
        passed: whether it passed.
        seconds: how long it took.
        printed: the lines it printed.
    """

    layer: str
    title: str
    passed: bool
    seconds: float
    printed: tuple[str, ...]


class Suite:
    """The layers of tests of this repository."""

    def __init__(
        self,
        project: Project,
        runner: Runner,
        console: Console,
        environments: Environments,
        packages: Packages,
        terraform_program: Path,
        ready_for_machines: Callable[[], None],
    ) -> None:
        self._project = project
        self._runner = runner
        self._console = console
        self._environments = environments
        self._packages = packages
        self._terraform = terraform_program
        self._ready_for_machines = ready_for_machines

    def layers(self) -> list[Layer]:
        """The layers, in the order they run in."""
        # One more than processors: each waits a good part of its time, for a server or a machine.
        at_once = (os.cpu_count() or 1) + 1
        return [
            Layer(
                "quick",
                "style, types, syntax and unit tests of every part; no machine is needed",
                "3 minutes, and one more the first time, to make the environments",
                at_once,
                self._quick,
            ),
            # Before the roles: what it builds from nothing, their scenarios take from an archive.
            Layer(
                "platform",
                "the whole platform: deployment, second deployment, DAGs, every page in a browser, "
                "scaling, faults, restart",
                "31 minutes where nothing is deployed yet, 20 otherwise",
                1,
                self._platform,
            ),
            Layer(
                "roles",
                "each Ansible role on a machine of its own, with Molecule",
                "20 minutes after the platform's layer; alone, the images are built first",
                at_once,
                self._roles,
            ),
        ]

    def run(self, only: str | None = None) -> bool:
        """Run all layers up to the first that fails, or one alone.

        Every check of a layer runs, whichever of them fails.

        Args:
            only: the name of the one layer to run.

        Returns:
            Whether everything passed and something ran.
        """
        outcomes: list[Outcome] = []
        for layer in self.layers():
            if only in (None, layer.name):
                ended = self._run_layer(layer)
                outcomes += ended
                if not all(outcome.passed for outcome in ended):
                    break
        self._console.say()
        rows = [
            [
                *(outcome.layer, outcome.title, _word(outcome.passed)),
                *(duration(outcome.seconds), _assertions(outcome.printed)),
            ]
            for outcome in outcomes
        ]
        for line in table(["Layer", "Check", "Result", "Time", "Assertions"], rows):
            self._console.say(line)
        failed = [outcome for outcome in outcomes if not outcome.passed]
        for outcome in failed:
            self._console.say(f"\n--- {outcome.title} FAILED; from what it printed:")
            for line in outcome.printed[-_END_LINES:]:
                self._console.say(f"    {line}")
        for outcome in failed:
            for number, line in enumerate(_place_of_failure(outcome.printed)):
                if number == 0:
                    self._console.say(f"\n--- {outcome.title} went wrong here:")
                self._console.say(f"    {line}")
        self._console.say()
        self._console.say(f"{len(outcomes) - len(failed)} passed, {len(failed)} failed")
        for outcome in failed:
            self._console.say(f"    {outcome.title}: {_reason(outcome.printed)}")
        return bool(outcomes) and not failed

    def _run_layer(self, layer: Layer) -> list[Outcome]:
        self._console.say(f"\n=== {layer.name}: {layer.covers}; takes about {layer.takes}")
        began = time.monotonic()
        if layer.at_once == 1:
            outcomes = [self._outcome(layer, check, echo=True) for check in layer.checks()]
        else:
            outcomes = self._run_at_once(layer)
        if not outcomes:
            self._console.say("    there is nothing to run")
        self._console.say(f"    in all {duration(time.monotonic() - began)}")
        return outcomes

    def _run_at_once(self, layer: Layer) -> list[Outcome]:
        checks = list(layer.checks())
        outcomes = []
        with ThreadPoolExecutor(layer.at_once) as pool:
            try:
                pending: Iterable[Future[Outcome]] = {
                    pool.submit(self._outcome, layer, check, echo=False) for check in checks
                }
                while pending:
                    ended, pending = wait(pending, return_when=FIRST_COMPLETED)
                    outcomes += [future.result() for future in ended]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self._runner.interrupt()
                raise
        return outcomes

    def _outcome(self, layer: Layer, check: Check, *, echo: bool) -> Outcome:
        if echo:
            self._console.say(f"--- {check.title}")
        began = time.monotonic()
        passed, printed = self._passes(check, echo=echo)
        outcome = Outcome(layer.name, check.title, passed, time.monotonic() - began, printed)
        ended = f"{_word(passed)} in {duration(outcome.seconds)}"
        self._console.say(f"    {ended}" if echo else f"--- {check.title}: {ended}")
        if not passed and not echo:
            self._console.say("\n".join(f"    {line}" for line in printed))
        return outcome

    def _passes(self, check: Check, *, echo: bool) -> tuple[bool, tuple[str, ...]]:
        printed: list[str] = []
        for command in check.commands:
            try:
                completed = self._runner.run(
                    command,
                    cwd=self._project.root / check.folder,
                    env=check.env,
                    check=False,
                    echo=echo,
                )
            except ControlError as error:
                return False, (*printed, str(error))
            printed += f"{completed.stdout}\n{completed.stderr}".strip().splitlines()
            if completed.returncode != 0:
                return False, tuple(printed)
        return True, tuple(printed)

    def _quick(self) -> Iterator[Check]:
        control = self._environments.ensure_control()
        environments = {
            package.environment: self._environments.ensure(
                package.environment, self._project.root / package.lock
            )
            for package in PYTHON_PACKAGES
        }
        self._packages.ensure(TEST_PACKAGES)
        # The longest first, so that none of them runs alone at the end.
        for package in reversed(PYTHON_PACKAGES):
            if not package.tests:
                continue
            python = environments[package.environment].python
            yield Check(
                f"unit tests: {package.name}",
                ([python, "-m", "pytest", "-q", *package.tests],),
                package.folder,
            )
        yield from self._ansible_checks(control)
        yield from self._python_types(control, environments)
        yield from self._python_style(control)
        yield from self._terraform_checks()

    def _python_style(self, control: Environment) -> Iterator[Check]:
        ruff = control.programs / "ruff"
        yield Check("ruff check", ([ruff, "check", "."],))
        yield Check("ruff format", ([ruff, "format", "--check", "."],))

    def _python_types(
        self, control: Environment, environments: Mapping[str, Environment]
    ) -> Iterator[Check]:
        for package in PYTHON_PACKAGES:
            yield Check(
                f"mypy: {package.name}",
                (
                    [
                        *(control.programs / "mypy", "--strict"),
                        *("--config-file", self._project.root / "pyproject.toml"),
                        # Where the package's own dependencies are, with their types.
                        *("--python-executable", environments[package.environment].python),
                        *package.sources,
                    ],
                ),
                package.folder,
            )

    def _ansible_checks(self, control: Environment) -> Iterator[Check]:
        env = {"PATH": tools_path([control.programs, self._project.tools])}
        yield Check(
            "ansible-lint",
            (
                [
                    *(control.programs / "ansible-lint", "--offline", "--nocolor"),
                    *("--profile", "production"),
                ],
            ),
            env=env,
        )
        yamllint = control.programs / "yamllint"
        yield Check("yamllint", ([yamllint, "--strict", *self._folders()],))
        yield Check(
            "ansible-playbook --syntax-check",
            (
                [
                    *(control.programs / "ansible-playbook", "--syntax-check"),
                    # The real inventory needs machines.
                    *("--inventory", "localhost,"),
                    *("site.yml", *self._playbooks()),
                ],
            ),
            "ansible",
            env={**env, "ANSIBLE_INVENTORY_ENABLED": "ansible.builtin.host_list"},
        )

    def _folders(self) -> list[str]:
        """The repository's own folders; hidden ones hold what tools have made."""
        return sorted(
            path.name
            for path in self._project.root.iterdir()
            if path.is_dir() and not path.name.startswith(".")
        )

    def _playbooks(self) -> list[str]:
        found = (self._project.ansible / "playbooks").glob("*.yml")
        return sorted(str(path.relative_to(self._project.ansible)) for path in found)

    def _terraform_checks(self) -> Iterator[Check]:
        terraform = (self._terraform, "-chdir=terraform")
        yield Check("terraform fmt", ([*terraform, "fmt", "-check", "-diff", "-recursive"],))
        yield Check(
            "terraform validate and test",
            (
                [*terraform, "init", "-input=false", "-no-color"],
                [*terraform, "validate", "-no-color"],
                [*terraform, "test", "-no-color"],
            ),
        )

    def _roles(self) -> Iterator[Check]:
        put_in_order(self._runner, self._console)
        self._ready_for_machines()
        control = self._environments.ensure_control()
        env = {
            **ansible_environment(self._project, control),
            "MOLECULE_COMMAND_BORDERS": "false",
            **({} if self._console.colour else {"NO_COLOR": "1"}),
        }
        for scenario in self._scenarios():
            yield Check(
                f"molecule: {scenario.name}",
                ([control.programs / "molecule", "test", "--scenario-name", scenario.name],),
                env=env,
            )

    def _scenarios(self) -> list[Path]:
        """The scenarios' folders, in the order that keeps all processors at work."""
        files = (self._project.root / "molecule").glob("*/molecule.yml")
        # Those that need other roles' services take longest: none is to run alone at the end.
        longest_first = sorted(
            (file.parent for file in files),
            key=lambda folder: (not (folder / "prepare.yml").exists(), folder.name),
        )
        bare: list[Path] = []
        prepared: list[Path] = []
        for folder in longest_first:
            says = (folder / "molecule.yml").read_text()
            (bare if _ON_A_BARE_MACHINE in says else prepared).append(folder)
        # The first makes the machine that all its like start from; bare ones need none meanwhile.
        return prepared[:1] + bare + prepared[1:]

    def _platform(self) -> Iterator[Check]:
        put_in_order(self._runner, self._console)
        control = self._environments.ensure_control()
        self._environments.ensure(
            BROWSER_TESTS.environment, self._project.root / BROWSER_TESTS.lock
        )
        self._packages.ensure(BROWSER_PACKAGES)
        yield Check(
            "pytest tests/",
            (
                [
                    *(control.python, "-m", "pytest", "-v", "--capture=no"),
                    *("--durations=20", "--durations-min=10", "tests"),
                ],
            ),
            env={"PATH": tools_path([control.programs, self._project.tools])},
        )


def _word(passed: bool) -> str:
    return "passed" if passed else "FAILED"


def _place_of_failure(printed: tuple[str, ...]) -> tuple[str, ...]:
    """The lines around the one that tells what went wrong, none where the end tells it."""
    end = max(len(printed) - _END_LINES, 0)
    wrong = [number for number, line in enumerate(printed) if _WENT_WRONG.search(line)]
    if not wrong or wrong[-1] >= end:
        return ()
    return printed[max(wrong[-1] - _BEFORE_WRONG, 0) : wrong[-1] + _AFTER_WRONG]


def _reason(printed: tuple[str, ...]) -> str:
    """The tests that failed, or else the line that tells what went wrong, or else the last one."""
    tests = [found[1] for line in printed if (found := _FAILED_TEST.search(line))]
    wrong = [line.strip() for line in printed if _WENT_WRONG.search(line)]
    reason = "; ".join(tests or wrong[-1:] or printed[-1:]) or "it printed nothing"
    return reason if len(reason) <= _REASON_LENGTH else f"{reason[:_REASON_LENGTH]}..."


def _assertions(printed: tuple[str, ...]) -> str:
    """How many assertions of a role's tests held, empty for checks that do not count them."""
    counts = [int(found[1]) for line in printed if (found := _ASSERTIONS.search(line))]
    return str(sum(counts)) if counts else ""
