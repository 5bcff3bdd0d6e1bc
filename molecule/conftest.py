"""What the tests of every role stand on: the machine, and a report of it where a test fails."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import yaml
from testinfra.host import Host  # type: ignore[import-untyped]

pytest.register_assert_rewrite("shared.machine")
sys.path.insert(0, str(Path(__file__).parent))

from shared.machine import Machine  # noqa: E402

# What a person looks at first.
_REPORT = """
docker ps --all
for name in $(docker ps --all --format '{{.Names}}'); do
    echo "== log of $name"
    docker logs --tail 25 "$name" 2>&1
done
echo "== journal"
journalctl --unit docker --lines 15 --no-pager
"""

_assertions = 0


def pytest_assertion_pass(item: pytest.Item, lineno: int, orig: str, expl: str) -> None:
    """Count the assertions that held."""
    global _assertions
    _assertions += 1


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the count; the table of `make test` has it from here."""
    terminalreporter.write_line(f"{_assertions} assertions held")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the containers' logs and the machine's journal to a failure."""
    report = yield
    host = getattr(item, "funcargs", {}).get("host")
    if report.failed and host is not None:
        report.sections.append(("the machine", host.run(_REPORT).stdout))
    return report


@pytest.fixture(scope="module")
def machine(host: Host, request: pytest.FixtureRequest) -> Machine:
    """The scenario's machine."""
    variables: dict[str, Any] = host.ansible.get_variables()
    # `molecule verify alternative`: what the second variant changed.
    changed = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"], "alternative", "variables.yml")
    if changed.exists() and any("alternative" in argument for argument in request.config.args):
        variables |= yaml.safe_load(changed.read_text())
    return Machine(host, variables)
