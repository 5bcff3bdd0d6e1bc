"""What the documentation says is so: its links, its commands, and the messages that it explains."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from control.__main__ import parse

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
# Where messages come from.
PROGRAMS = ("control", "terraform/driver", "dags/covertype", "dags", "api/inference_api")
# What stands for a part that differs.
ANY = "…"


def names(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]*)(?:#[^)]*)?\)", page.read_text()):
        if target and "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_sections_that_are_linked_are_there(page: Path) -> None:
    for target, section in re.findall(r"\]\(([^)#]*)#([^)]*)\)", page.read_text()):
        text = (page.parent / target if target else page).read_text()
        titles = [title.lower().replace(" ", "-") for title in re.findall(r"^#+ (.*)$", text, re.M)]
        assert section in titles


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_commands_are_those_of_make(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    text = page.read_text()
    commands = re.findall(r"^make [^\n#]*$", text, re.M) + re.findall(r"`(make [^`]*)`", text)
    for command in commands:
        _, verb, *variables = command.split()
        assert re.search(rf"^{verb}:$", makefile, re.M), command
        recipe = makefile.partition(f"\n{verb}:\n")[2].partition("\n\n")[0]
        for variable in variables:
            name = variable.partition("=")[0]
            assert f"$({name}" in recipe, command


def test_every_verb_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["help"])
    verbs = re.findall(r"^  (\w+) ", capsys.readouterr().out, re.M)
    told = "\n".join(page.read_text() for page in PAGES)
    for verb in verbs:
        assert verb == "help" or f"make {verb}" in told, verb


def messages() -> Iterator[str]:
    """Every text in the programs and playbooks, with `…` for what is filled in."""
    for folder in PROGRAMS:
        for path in (ROOT / folder).glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value
                elif isinstance(node, ast.JoinedStr):
                    parts = node.values
                    yield "".join(
                        str(part.value) if isinstance(part, ast.Constant) else ANY for part in parts
                    )
    for pattern in ("*.yml", "*.j2"):
        for path in (ROOT / "roles").rglob(pattern):
            yield re.sub(r"\{\{.*?\}\}", ANY, path.read_text(), flags=re.S)


def test_messages_that_are_explained_are_printed_somewhere() -> None:
    known = [" ".join(message.split()) for message in messages()]
    text = (ROOT / "docs" / "troubleshoot.md").read_text()
    explained = re.findall(r"^### `(.*)`$", text, re.M)
    # The reasons for which a host is refused are a list below the one message.
    explained += re.findall(r"^- `(.*?)`", text, re.M)
    assert len(explained) >= 20
    for message in explained:
        assert any(message in printed for printed in known), message
