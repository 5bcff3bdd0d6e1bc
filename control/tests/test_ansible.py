"""What programs that run Ansible are given."""

import sys
from pathlib import Path

from control.ansible import ansible_environment
from control.environments import Environment
from control.project import Project


def test_mitogen_is_where_ansible_looks_for_it(project: Project) -> None:
    env = ansible_environment(project, Environment(Path(sys.prefix)))
    strategy = f"{env['ANSIBLE_STRATEGY']}.py"
    assert (Path(env["ANSIBLE_STRATEGY_PLUGINS"]) / strategy).is_file()
    assert env["PATH"].startswith(f"{sys.prefix}/bin:")
