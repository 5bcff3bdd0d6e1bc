"""The project's documentation, written in Markdown, as pages."""

import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt

_NO_PART_OF_AN_ANCHOR = re.compile(r"[^\w\- ]")


@dataclass(frozen=True)
class Document:
    """A page.

    Attributes:
        title: its first heading.
        body: what it says, as HTML.
    """

    title: str
    body: str


class Documents:
    """The pages of a folder, and what else is in it.

    Args:
        folder: with Markdown files and pictures; folders in it have some too.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        # Tags written by hand are shown and not obeyed: the pages are Markdown alone.
        self._markdown = MarkdownIt("commonmark", {"html": False}).enable("table")

    def find(self, name: str) -> Path | None:
        """The file of that name, None where there is none.

        Args:
            name: from the folder; a name that leads out of it is of no file.
        """
        path = (self._folder / name).resolve()
        return path if path.is_relative_to(self._folder) and path.is_file() else None

    def read(self, file: Path) -> Document:
        """Make a page of a Markdown file; its headings can be linked to, as elsewhere."""
        tokens = self._markdown.parse(file.read_text())
        title = ""
        for heading, text in pairwise(tokens):
            if heading.type == "heading_open":
                words = "".join(part.content for part in text.children or ())
                title = title or words
                heading.attrSet("id", _anchor(words))
        return Document(title, self._markdown.renderer.render(tokens, self._markdown.options, {}))


def _anchor(heading: str) -> str:
    """The name of a heading in links to it, as code hosts make it."""
    return _NO_PART_OF_AN_ANCHOR.sub("", heading.lower()).replace(" ", "-")
