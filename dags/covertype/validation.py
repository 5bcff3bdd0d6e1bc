"""Checks the rows of a batch one by one; what is wrong is set aside with its reason.

The work is done by column: the few thousand distinct values of each are checked once and looked
up for all rows.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from covertype.hashing import Hashes, content_hashes
from covertype.schema import COLUMNS, Column

MAX_REJECTED_SHARE = 0.05
"""A batch with a larger share of bad rows is refused as a whole: its source is broken."""

_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,9}")
_NOT_PERMITTED = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Rejection:
    """A row that is not loaded.

    Attributes:
        row: As the data API sent it.
        column: The name of the first column that is wrong; None where it is the whole row.
        reason: What is wrong, in a sentence.
    """

    row: Any
    column: str | None
    reason: str


@dataclass(frozen=True)
class CheckedRows:
    """The rows of one batch.

    Attributes:
        rows: The good rows, each ``len(COLUMNS)`` strings that Postgres takes as they are.
        hashes: uint64 [rows], of their content.
        rejected: The bad rows.
    """

    rows: list[list[str]]
    hashes: Hashes
    rejected: list[Rejection]

    @property
    def rejected_share(self) -> float:
        """Share of bad rows, in 0..1."""
        return len(self.rejected) / max(len(self.rows) + len(self.rejected), 1)

    def without(self, others: Hashes) -> "CheckedRows":
        """The same with rows rejected that other batches hold.

        Args:
            others: uint64 [any number], hashes of the other batches' rows.
        """
        return self._reject(np.isin(self.hashes, others), "Another batch has the same row.")

    def _reject(self, bad: NDArray[np.bool_], reason: str) -> "CheckedRows":
        if not bad.any():
            return self
        return CheckedRows(
            [self.rows[position] for position in np.flatnonzero(~bad).tolist()],
            self.hashes[~bad],
            self.rejected
            + [
                Rejection(self.rows[position], None, reason)
                for position in np.flatnonzero(bad).tolist()
            ],
        )


def check_rows(rows: Sequence[Any]) -> CheckedRows:
    """Check types, ranges, categories, the class, and duplicates within the batch.

    Args:
        rows: As decoded from the data API: lists of ``len(COLUMNS)`` strings.
    """
    width = len(COLUMNS)
    whole = [row for row in rows if isinstance(row, list) and len(row) == width]
    rejected = [
        Rejection(row, None, f"The row is not a list of {width} values.")
        for row in rows
        if not (isinstance(row, list) and len(row) == width)
    ]
    if not whole:
        return CheckedRows([], np.zeros(0, np.uint64), rejected)
    values = np.empty((len(whole), width), dtype=np.int64)
    for position, (column, cells) in enumerate(zip(COLUMNS, zip(*whole, strict=True), strict=True)):
        values[:, position] = _check_column(column, cells)
    wrong = values == _NOT_PERMITTED
    bad = wrong.any(axis=1)
    for position in np.flatnonzero(bad).tolist():
        row = whole[position]
        first = int(np.argmax(wrong[position]))
        column = COLUMNS[first]
        reason = f"{row[first]!r:.100} is not {_permitted(column)}."
        rejected.append(Rejection(row, column.name, reason))
    if bad.any():
        whole = [whole[position] for position in np.flatnonzero(~bad).tolist()]
        values = values[~bad]
    checked = CheckedRows(whole, content_hashes(values), rejected)
    repeated = pd.Series(checked.hashes).duplicated().to_numpy()
    return checked._reject(repeated, "An earlier row of the batch is the same.")


def _check_column(column: Column, cells: Sequence[Any]) -> NDArray[np.int64]:
    """What the cells stand for, int64 [rows]; ``_NOT_PERMITTED`` for those that are wrong."""
    if set(map(type, cells)) != {str}:
        # Nothing but a string is permitted, and not all else can be put in a table of values.
        cells = [cell if type(cell) is str else "" for cell in cells]
    codes, distinct = pd.factorize(np.array(cells, dtype=object))
    meanings = np.array([_meaning(column, cell) for cell in distinct], dtype=np.int64)
    found: NDArray[np.int64] = meanings[codes]
    return found


def _meaning(column: Column, cell: str) -> int:
    if column.kind == "category":
        return column.categories.index(cell) if cell in column.categories else _NOT_PERMITTED
    if not _WHOLE_NUMBER.fullmatch(cell):
        return _NOT_PERMITTED
    number = int(cell)
    return number if column.minimum <= number <= column.maximum else _NOT_PERMITTED


def _permitted(column: Column) -> str:
    if column.kind == "category":
        return f"one of the {len(column.categories)} known values"
    return f"a whole number from {column.minimum} to {column.maximum}"
