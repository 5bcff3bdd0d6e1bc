#!/usr/bin/env python3
"""Writes `roles/<role>/README.md` from the role's argument specs and its Molecule scenario.

The example is the scenario's own play, so that what a README says has been run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parent.parent
ROLES = REPOSITORY / "roles"
SCENARIOS = REPOSITORY / "molecule"

# What only Molecule needs.
_TEST_VARIABLES = {"image_archive_directory"}
# What a scenario tells the playbook that makes its machine, and no role.
_MACHINE_VARIABLES = {"begins_on_a_bare_machine"}
_TEST_FOLDERS = (
    "${MOLECULE_SCENARIO_DIRECTORY}",
    "${MOLECULE_PROJECT_DIRECTORY}/.deployment/molecule/certificates",
    "${MOLECULE_PROJECT_DIRECTORY}/.deployment/molecule/locust",
    "${MOLECULE_PROJECT_DIRECTORY}/.deployment/molecule/nginx",
)
# A shorter value is a name, not a secret.
_SHORTEST_SECRET = 16
_LOOKUP = (
    "lookup('ansible.builtin.password', 'secrets/{name}', length=32, "
    "chars=['ascii_letters', 'digits'])"
)


def role_names() -> list[str]:
    """All roles."""
    return sorted(path.parent.parent.name for path in ROLES.glob("*/meta/argument_specs.yml"))


def argument_specs(role: str) -> dict[str, Any]:
    """A role's argument specs, by entry point."""
    text = (ROLES / role / "meta" / "argument_specs.yml").read_text()
    specs: dict[str, Any] = yaml.safe_load(text)["argument_specs"]
    return specs


def scenario_variables(role: str) -> dict[str, Any]:
    """The variables that a role's Molecule scenario gives it."""
    scenario = yaml.safe_load((SCENARIOS / role / "molecule.yml").read_text())
    inventory = scenario.get("provisioner", {}).get("inventory", {})
    given: dict[str, Any] = inventory.get("group_vars", {}).get("all", {})
    return {name: value for name, value in given.items() if name not in _MACHINE_VARIABLES}


def readme(role: str) -> str:
    """Return the whole text of a role's README."""
    specs = argument_specs(role)
    main = specs["main"]
    parts = [
        "<!-- Written by `make docs` from meta/argument_specs.yml and the Molecule scenario. -->",
        f"# {role}",
        _sentence(main["short_description"]),
        *([_joined(main["description"])] if "description" in main else []),
        "## Use it alone",
        "On a bare Debian 13 machine; the role brings what it stands on. `playbook.yml`:",
        f"```yaml\n---\n{_example(role)}```",
        (
            "```sh\n"
            "export ANSIBLE_ROLES_PATH=roles\n"
            "ansible-playbook --inventory ADDRESS, --user LOGIN playbook.yml\n"
            "```"
        ),
        "## Variables",
        *_variables(main["options"]),
    ]
    for entry, spec in specs.items():
        if entry != "main":
            parts += [f"## Entry point `{entry}`", _sentence(spec["short_description"])]
            parts += _variables(spec["options"])
    return "\n\n".join(parts) + "\n"


def _example(role: str) -> str:
    """A play with the role and the variables that it is tested with."""
    hidden = {
        name
        for path in ROLES.glob("*/meta/argument_specs.yml")
        for entry in yaml.safe_load(path.read_text())["argument_specs"].values()
        for name in _hidden_options(entry["options"])
    }
    drawn: dict[str, str] = {}
    given = {
        name: _without_hidden(name, name, value, hidden, drawn)
        for name, value in scenario_variables(role).items()
        if name not in _TEST_VARIABLES
    }
    play: dict[str, Any] = {"hosts": "all", "become": True}
    if given:
        play["vars"] = given
    play["roles"] = [*_roles_before(role, given), role]
    text = yaml.safe_dump([play], sort_keys=False, width=1000)
    for folder in _TEST_FOLDERS:
        text = text.replace(f"{folder}/", "")
    return text


def _roles_before(role: str, variables: dict[str, Any]) -> list[str]:
    """What the scenario applies first, such as the database of a service."""
    prepare = SCENARIOS / role / "prepare.yml"
    plays = yaml.safe_load(prepare.read_text()) if prepare.exists() else []
    roles = [entry["role"] for play in plays for entry in play.get("roles", [])]
    return ["base_image"] if "base_image_reference" in json.dumps(variables) else roles


def _hidden_options(options: dict[str, Any]) -> Iterator[str]:
    """The names of the options, and of parts of options, that no log may show."""
    for name, option in options.items():
        if option.get("no_log"):
            yield name
        yield from _hidden_options(option.get("options", {}))


def _without_hidden(
    option: str, name: str, value: Any, hidden: set[str], drawn: dict[str, str]
) -> Any:
    """A value in which Ansible draws and keeps whatever no log may show.

    Args:
        option: the option, or part of one, whose value it is.
        name: what a password in it is kept as.
        value: the value with the passwords of the test.
        hidden: the names of the options that are hidden.
        drawn: the names of the passwords so far.
    """
    if option in hidden:
        return _without_secrets(name, value, drawn)
    if isinstance(value, dict):
        return {
            key: _without_hidden(key, f"{name}_{value.get('name', key)}", inner, hidden, drawn)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_without_hidden("", name, inner, hidden, drawn) for inner in value]
    return value


def _without_secrets(name: str, value: Any, drawn: dict[str, str]) -> Any:
    """A value in which every password is one that Ansible draws and keeps.

    Args:
        name: what the password is kept as, where it is a new one.
        value: the value with the passwords of the test.
        drawn: the names of the passwords so far: what is the same stays the same.
    """
    if isinstance(value, dict):
        return {
            key: _without_secrets(f"{name}_{value.get('name', key)}", inner, drawn)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_without_secrets(name, inner, drawn) for inner in value]
    if not isinstance(value, str) or len(value) < _SHORTEST_SECRET:
        return value
    lookup = _LOOKUP.format(name=drawn.setdefault(value, name))
    return f"{{{{ {lookup}{' | b64encode' if value.endswith('=') else ''} }}}}"


def _variables(options: dict[str, Any]) -> list[str]:
    """The table of variables, and a list for each that has parts."""
    lines = ["| variable | type | default | what |", "|---|---|---|---|"]
    lines += [
        f"| `{name}` | {_type(option)} | {_default(option)} | {_cell(option)} |"
        for name, option in options.items()
    ]
    parts = ["\n".join(lines)]
    for name, option in options.items():
        if "options" in option:
            listed = "\n".join(
                f"- `{part}` ({_type(inner)}{', required' if inner.get('required') else ''}): "
                f"{_cell(inner)}"
                for part, inner in option["options"].items()
            )
            parts.append(f"Each of `{name}` has:\n\n{listed}")
    return parts


def _type(option: dict[str, Any]) -> str:
    return f"list of {option['elements']}" if "elements" in option else str(option["type"])


def _default(option: dict[str, Any]) -> str:
    if option.get("required"):
        return "**required**"
    return f"`{json.dumps(option['default'])}`" if "default" in option else ""


def _cell(option: dict[str, Any]) -> str:
    text = _joined(option["description"])
    if "choices" in option:
        text += f" One of {', '.join(f'`{choice}`' for choice in option['choices'])}."
    return text.replace("|", "\\|")


def _joined(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def _sentence(text: str) -> str:
    return _joined(text).rstrip(".") + "."


def main() -> None:
    """Write every README anew."""
    for role in role_names():
        path = ROLES / role / "README.md"
        path.write_text(readme(role))
        print(path.relative_to(REPOSITORY))


if __name__ == "__main__":
    main()
