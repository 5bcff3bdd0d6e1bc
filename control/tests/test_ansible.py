"""What programs that run Ansible are given."""

import re
import sys
from pathlib import Path

from control.ansible import COLLECTIONS, ansible_environment
from control.environments import Environment
from control.project import Project

REPOSITORY = Path(__file__).resolve().parents[2]


def test_mitogen_is_where_ansible_looks_for_it(project: Project) -> None:
    env = ansible_environment(project, Environment(Path(sys.prefix)))
    strategy = f"{env['ANSIBLE_STRATEGY']}.py"
    assert (Path(env["ANSIBLE_STRATEGY_PLUGINS"]) / strategy).is_file()
    assert env["PATH"].startswith(f"{sys.prefix}/bin:")


def test_ansible_has_the_collections_in_use_and_no_others(project: Project) -> None:
    environment = Environment(Path(sys.prefix))
    # A second time is no different.
    for _ in range(2):
        folder = Path(ansible_environment(project, environment)["ANSIBLE_COLLECTIONS_PATH"])
    linked = folder / "ansible_collections"
    assert {f"{link.parent.name}.{link.name}" for link in linked.glob("*/*")} == set(COLLECTIONS)
    assert all((link / "MANIFEST.json").is_file() for link in linked.glob("*/*"))
    sources = [
        path.read_text()
        for part in ("ansible", "roles", "molecule")
        for pattern in ("*.yml", "*.cfg")
        for path in (REPOSITORY / part).rglob(pattern)
    ]
    named = set(re.findall(r"\b([a-z_]+\.[a-z0-9_]+)\.[a-z0-9_]+", "\n".join(sources)))
    there = environment.packages / "ansible_collections"
    in_use = {name for name in named if (there / name.replace(".", "/")).is_dir()}
    assert in_use == set(COLLECTIONS)
