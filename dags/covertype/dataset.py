"""Rows as arrays: their canonical order, fingerprint, split and folds.

Whether a row is held out depends on its content alone, not on what else was loaded: a row whose
hash lies in the lowest tenth belongs to the test set of every load. So the same rows are held out
from every model that this pipeline ever fits, models of different loads can be compared on them,
and a model that was fitted to one of them gives itself away.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from covertype.errors import PipelineError
from covertype.hashing import Hashes, content_hashes
from covertype.schema import INPUTS, TARGET
from covertype.store import BATCH_COLUMN

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

TEST_SHARE = 0.1
MIN_ROWS = 1000
"""Fewer rows than this give no figures worth comparing."""

_LARGEST_TEST_HASH = np.uint64(TEST_SHARE * 2**64)


@dataclass(frozen=True)
class Rows:
    """Rows in canonical order.

    Attributes:
        features: float32 [rows, len(INPUTS)]; a category is its index in the column's list.
        labels: int64 [rows], class numbers.
        batches: int64 [rows], batch numbers.
    """

    features: Floats
    labels: Ints
    batches: Ints

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, chosen: Mask | Ints) -> "Rows":
        """The rows where a mask [rows] is true, or those at the given positions."""
        return Rows(self.features[chosen], self.labels[chosen], self.batches[chosen])

    @cached_property
    def hashes(self) -> Hashes:
        """uint64 [rows]: a hash of each row's content, the same on every machine."""
        return content_hashes(np.column_stack([self.features.astype(np.int64), self.labels]))

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the ordered content, in hex."""
        digest = hashlib.sha256()
        for array in (self.features.astype("<i4"), self.labels, self.batches):
            digest.update(np.ascontiguousarray(array, dtype="<i4").tobytes())
        return digest.hexdigest()

    def batch_counts(self) -> dict[int, int]:
        """Batch number to number of rows."""
        numbers, counts = np.unique(self.batches, return_counts=True)
        return dict(zip(numbers.tolist(), counts.tolist(), strict=True))


@dataclass(frozen=True)
class Split:
    """The parts of one load.

    Attributes:
        fit: Rows that models are fitted to and that the search compares candidates on.
        test: Held-out rows that neither fitting nor the search sees.
    """

    fit: Rows
    test: Rows


def encode(frame: pd.DataFrame) -> Rows:
    """Turn the table's rows into arrays, in an order that does not depend on how they were loaded.

    Args:
        frame: As from ``CovertypeStore.read``.

    Raises:
        PipelineError: There are too few rows to train on.
    """
    if len(frame) < MIN_ROWS:
        raise PipelineError(
            f"The table has {len(frame)} rows, fewer than {MIN_ROWS}: run the DAG Cargar_datos."
        )
    features = np.empty((len(frame), len(INPUTS)), dtype=np.float32)
    for position, column in enumerate(INPUTS):
        if column.kind == "category":
            codes = pd.Categorical(frame[column.name], categories=list(column.categories)).codes
            features[:, position] = codes
        else:
            features[:, position] = frame[column.name]
    labels = frame[TARGET.name].to_numpy(np.int64)
    batches = frame[BATCH_COLUMN].to_numpy(np.int64)
    order = np.lexsort((labels, *features.T[::-1], batches))
    return Rows(features[order], labels[order], batches[order])


def split(rows: Rows) -> Split:
    """Hold out the rows of the test set."""
    test = rows.hashes <= _LARGEST_TEST_HASH
    return Split(rows.take(~test), rows.take(test))


def stratified_share(rows: Rows, share: float) -> Rows:
    """A share of the rows of each class, in 0..1, in canonical order."""
    ranks, sizes = _ranks(rows)
    return rows.take(ranks < np.ceil(sizes * share))


def folds(rows: Rows, count: int) -> Ints:
    """Deal the rows of each class evenly onto folds.

    Returns:
        int64 [rows]: the number of the fold, 0 to ``count - 1``, that a row belongs to.
    """
    dealt: Ints = _ranks(rows)[0] % count
    return dealt


def _ranks(rows: Rows) -> tuple[Ints, Ints]:
    """Each row's place among the rows of its class in the order of hashes, and their number."""
    order = np.lexsort((rows.hashes, rows.labels))
    _, starts, counts = np.unique(rows.labels[order], return_index=True, return_counts=True)
    ranks = np.empty(len(rows), dtype=np.int64)
    sizes = np.empty(len(rows), dtype=np.int64)
    ranks[order] = np.arange(len(rows)) - np.repeat(starts, counts)
    sizes[order] = np.repeat(counts, counts)
    return ranks, sizes
