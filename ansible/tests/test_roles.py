"""What holds for every role: variables are described, used and sound; versions are fixed."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleError  # type: ignore[import-untyped]
from ansible.parsing.dataloader import DataLoader  # type: ignore[import-untyped]
from ansible.template import Templar, trust_as_template  # type: ignore[import-untyped]

REPOSITORY = Path(__file__).resolve().parents[2]
ROLES = REPOSITORY / "roles"
SCENARIOS = REPOSITORY / "molecule"


def module(path: Path) -> ModuleType:
    """A program of the repository, to use what is in it."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    # Where `dataclass` looks for the module of its class.
    sys.modules[path.stem] = loaded
    spec.loader.exec_module(loaded)
    return loaded


role_readmes = module(REPOSITORY / "ansible" / "role_readmes.py")
mutations = module(SCENARIOS / "mutations.py")

OPTION_KEYS = {
    *("choices", "default", "description", "elements", "no_log", "options", "required", "type")
}
NAMES = sorted(path.name for path in ROLES.iterdir() if path.is_dir())


def load(role: str, part: str) -> dict[str, Any]:
    """A role's `defaults` or `vars`."""
    path = ROLES / role / part / "main.yml"
    return yaml.safe_load(path.read_text()) or {} if path.exists() else {}


def options(role: str) -> dict[str, Any]:
    """The variables that a role's argument specs describe, of all entry points."""
    found: dict[str, Any] = {}
    for entry in role_readmes.argument_specs(role).values():
        found |= entry["options"]
    return found


def parts(described: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """All options, and the options within them."""
    for name, option in described.items():
        yield name, option
        yield from parts(option.get("options", {}))


def sources(role: str) -> str:
    """All that a role does, as one text."""
    return "\n".join(
        path.read_text()
        for folder in ("tasks", "templates", "handlers", "vars")
        for path in sorted((ROLES / role / folder).rglob("*"))
        if path.is_file()
    )


@pytest.mark.parametrize("role", NAMES)
def test_specs_and_defaults_agree(role: str) -> None:
    optional = {
        name: option.get("default")
        for name, option in options(role).items()
        if not option.get("required")
    }
    assert optional == load(role, "defaults")


@pytest.mark.parametrize("role", NAMES)
def test_every_variable_is_described(role: str) -> None:
    for name, option in parts(options(role)):
        # A comma in an unquoted description makes two keys of it.
        assert set(option) <= OPTION_KEYS, name
        assert option["description"].strip(), name
        assert option["type"] in ("bool", "dict", "float", "int", "list", "path", "str"), name
        assert ("elements" in option) == (option["type"] == "list"), name
        assert not (option.get("required") and "default" in option), name
    lines = (ROLES / role / "defaults" / "main.yml").read_text().splitlines()
    assert lines[0] == "---"
    # A group of variables begins with its comment.
    for before, line in pairwise(lines):
        if re.match(r"[a-z]", line) and before in ("", "---"):
            pytest.fail(f"{line}: no comment")


@pytest.mark.parametrize("role", NAMES)
def test_names_tell_whose_they_are(role: str) -> None:
    for name in options(role):
        assert name.startswith(f"{role}_")
    for name in load(role, "vars"):
        assert name.startswith(f"_{role}_")


@pytest.mark.parametrize("role", NAMES)
def test_every_secret_is_marked(role: str) -> None:
    for name, option in parts(options(role)):
        is_secret = re.search(r"(^|_)(password|secret_key|access_key|jwt_secret|fernet_key)$", name)
        if is_secret and option["type"] == "str":
            assert option.get("no_log"), name


@pytest.mark.parametrize("role", NAMES)
def test_no_variable_is_unused(role: str) -> None:
    text = sources(role)
    for name in {**options(role), **load(role, "vars")}:
        # The definition of an internal one is no use of it.
        uses = len(re.findall(rf"\b{name}\b", text)) - (name in load(role, "vars"))
        assert uses > 0, name


@pytest.mark.parametrize("role", NAMES)
def test_every_variable_that_is_used_is_described(role: str) -> None:
    used = set(re.findall(rf"(?<![a-z_.]){role}_[a-z0-9_]+\b", sources(role)))
    # What a loop or a fact of the role itself is called.
    registered = set(re.findall(r"loop_var: ([a-z0-9_]+)", sources(role)))
    registered |= set(re.findall(r"^ {4}([a-z0-9_]+):", sources(role), re.MULTILINE))
    assert used - registered - set(options(role)) - {f"{role}_{entry}" for entry in NAMES} == set()


TEMPLATES = sorted(ROLES.glob("*/templates/*.j2"))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_templates_compile_with_the_defaults(path: Path) -> None:
    role = path.parents[1].name
    variables = load(role, "defaults") | load(role, "vars") | role_readmes.scenario_variables(role)
    templar = Templar(loader=DataLoader(), variables=variables)
    rendered = templar.template(trust_as_template(path.read_text()))
    assert rendered
    assert "{{" not in str(rendered)
    # A template that reads what nobody sets fails.
    if "{{" in path.read_text():
        with pytest.raises(AnsibleError):
            Templar(loader=DataLoader(), variables={}).template(trust_as_template(path.read_text()))


DOCKERFILES = sorted(ROLES.glob("*/files/**/Dockerfile"))


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parents[2].name)
def test_images_are_built_from_our_own(path: Path) -> None:
    text = path.read_text()
    stages = re.findall(r"^FROM .+ AS (\w+)$", text, re.MULTILINE)
    for image in re.findall(r"^FROM (\S+)", text, re.MULTILINE):
        assert image in ("${BASE_IMAGE}", *stages)
    for image in re.findall(r"--from=(\S+)", text):
        assert image in stages
    for installed in re.findall(r"pip install [^\n]*|pip download (?:[^\n]*\\\n)*[^\n]*", text):
        assert "--require-hashes" in installed
    for module in re.findall(r"go install (?:[^\n]*\\\n)*[^\n]*", text):
        assert "@${" in module


@pytest.mark.parametrize("role", NAMES)
def test_versions_are_exact(role: str) -> None:
    for name, value in load(role, "defaults").items():
        if name.endswith(("_version", "_release")):
            assert re.search(r"\d+.*\d", value), name
        assert value != "latest", name
    for path in (ROLES / role).rglob("requirements*.in"):
        for line in path.read_text().splitlines():
            if line and not line.startswith(("#", "-r", "-c")):
                assert re.fullmatch(r"[a-z0-9._-]+(\[[a-z,]+\])?==[0-9][0-9a-z.]*", line), line
        lock = path.with_suffix(".txt").read_text()
        for line in re.findall(r"^[a-z0-9][^\n]*", lock, re.MULTILINE):
            assert "==" in line, line
            assert line.rstrip().endswith("\\"), line


@pytest.mark.parametrize("role", NAMES)
def test_readme_is_current(role: str) -> None:
    path = ROLES / role / "README.md"
    assert path.read_text() == role_readmes.readme(role), "`make docs` writes it anew"


def test_every_role_has_a_scenario() -> None:
    assert sorted(path.parent.name for path in SCENARIOS.glob("*/molecule.yml")) == NAMES


@pytest.mark.parametrize("role", NAMES)
def test_every_role_can_be_broken(role: str) -> None:
    ways = [mutation for mutation in mutations.MUTATIONS if mutation.role == role]
    assert ways
    for mutation in ways:
        assert mutation.broken() != mutation.file.read_text()


@pytest.mark.parametrize("role", NAMES)
def test_scenarios_give_only_variables_that_exist(role: str) -> None:
    described = {name for other in NAMES for name in options(other)}
    given = role_readmes.scenario_variables(role)
    assert set(given) <= described
    alternative = SCENARIOS / role / "alternative" / "variables.yml"
    if alternative.exists():
        changed = yaml.safe_load(alternative.read_text())
        assert set(changed) <= described
        for name, value in changed.items():
            assert value != load(role, "defaults").get(name), f"{name} is as by default"
