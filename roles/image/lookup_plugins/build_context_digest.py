"""Ansible lookup: a digest that changes when a container image's build context does."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

DOCUMENTATION = """
name: build_context_digest
short_description: Digest of a build context
description:
  - Reads every file of the context and returns a hexadecimal SHA-256 over the files' places below
    the context, whether they can be executed, and their content. Caches of Python tools and tests
    do not count; the role image does not copy them either.
options:
  _terms:
    description: Dictionaries with C(src), a folder or file, and C(dest), its place in the context.
    required: true
  inputs:
    description: Anything else that the image depends on, such as build arguments.
    type: raw
"""

# The role's copy task leaves out the same names.
IGNORED_NAMES = frozenset({"__pycache__", "tests", ".pytest_cache", ".mypy_cache", ".ruff_cache"})


def context_files(source: Path) -> list[Path]:
    """Return the files below `source` that belong to a context, in a stable order."""
    if source.is_file():
        return [source]
    return sorted(
        path
        for path in source.rglob("*")
        if path.is_file() and not IGNORED_NAMES.intersection(path.relative_to(source).parts)
    )


class LookupModule(LookupBase):
    """The lookup, as Ansible finds it."""

    def run(
        self, terms: list[dict[str, str]], variables: dict[str, Any] | None = None, **kwargs: Any
    ) -> list[str]:
        """Return the digest as a list of one string.

        Raises:
            AnsibleLookupError: a source does not exist.
        """
        self.set_options(var_options=variables, direct=kwargs)
        digest = hashlib.sha256(json.dumps(self.get_option("inputs"), sort_keys=True).encode())
        for term in terms:
            source = Path(term["src"])
            if not source.exists():
                raise AnsibleLookupError(f"build context: {source} does not exist")
            base = source if source.is_dir() else source.parent
            for path in context_files(source):
                place = Path(term["dest"]) / path.relative_to(base)
                executable = bool(path.stat().st_mode & 0o100)
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                digest.update(f"{place}\0{executable}\0{content}\n".encode())
        return [digest.hexdigest()]
