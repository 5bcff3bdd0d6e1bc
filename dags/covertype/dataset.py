"""Rows as arrays: their canonical order, fingerprint and split.

The split depends on the rows' content alone. In each stratum (one class in one batch) the rows
are ranked by a hash of their content; the first tenth is the test set, the next tenth validation,
the rest training. So the same rows give the same split in whatever order they were loaded.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from covertype.errors import PipelineError
from covertype.schema import INPUTS, TARGET
from covertype.store import BATCH_COLUMN

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

TEST_SHARE = 0.1
VALIDATION_SHARE = 0.1
MIN_ROWS = 1000
"""Fewer rows than this give no figures worth comparing."""

Cuts = Mapping[str, int]
"""Stratum ("class/batch") to the largest hash of its test rows."""


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

    def take(self, mask: Mask) -> "Rows":
        """The rows where ``mask`` [rows] is true."""
        return Rows(self.features[mask], self.labels[mask], self.batches[mask])

    @cached_property
    def hashes(self) -> NDArray[np.uint64]:
        """uint64 [rows]: a hash of each row's content, the same on every machine."""
        mixed = np.zeros(len(self), dtype=np.uint64)
        for column in (*self.features.T, self.labels):
            mixed = _splitmix(mixed ^ column.astype(np.int64).view(np.uint64))
        return mixed

    @cached_property
    def strata(self) -> Ints:
        """int64 [rows]: a number for each class in each batch."""
        return self.labels * 1000 + self.batches

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
        train: Rows that candidates are fitted to.
        validation: Rows that candidates are compared on.
        test: Held-out rows that neither fitting nor the search sees.
        cuts: Which rows a later load must regard as held out from models of this load.
    """

    train: Rows
    validation: Rows
    test: Rows
    cuts: Cuts

    @property
    def fit(self) -> Rows:
        """Training and validation rows: what a model that is registered is fitted to."""
        return Rows(
            np.concatenate([self.train.features, self.validation.features]),
            np.concatenate([self.train.labels, self.validation.labels]),
            np.concatenate([self.train.batches, self.validation.batches]),
        )


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
    """Hold rows out for validation and test, stratified by class and batch."""
    order = np.lexsort((rows.hashes, rows.strata))
    _, starts, sizes = np.unique(rows.strata[order], return_index=True, return_counts=True)
    rank = np.empty(len(rows), dtype=np.float64)
    rank[order] = np.arange(len(rows)) - np.repeat(starts, sizes)
    size = np.empty(len(rows), dtype=np.float64)
    size[order] = np.repeat(sizes, sizes)
    # The middle of the row's place in its stratum, in 0..1: rounds a stratum's share to nearest.
    place = (rank + 0.5) / size
    test = place < TEST_SHARE
    validation = ~test & (place < TEST_SHARE + VALIDATION_SHARE)
    # A stratum without test rows still has a cut (0): its rows were all trained on.
    cuts = dict.fromkeys(map(_stratum_name, np.unique(rows.strata).tolist()), 0)
    for stratum, value in zip(rows.strata[test].tolist(), rows.hashes[test].tolist(), strict=True):
        name = _stratum_name(stratum)
        cuts[name] = max(cuts[name], value)
    return Split(rows.take(~test & ~validation), rows.take(validation), rows.take(test), cuts)


def unseen(rows: Rows, cuts: Cuts) -> Mask:
    """Which rows a model cannot have been fitted to.

    Args:
        rows: Any rows, of the load the model was trained on or another.
        cuts: The cuts of the split that the model was trained with.

    Returns:
        bool [rows]: true where the row was held out from the model or was not in its load.
        A row of another load that lies beyond the cut may or may not have been in the model's
        load; it is taken to have been.
    """
    mask = np.empty(len(rows), dtype=np.bool_)
    for stratum in np.unique(rows.strata).tolist():
        members = rows.strata == stratum
        name = _stratum_name(stratum)
        mask[members] = name not in cuts or rows.hashes[members] <= np.uint64(cuts[name])
    return mask


def _stratum_name(stratum: int) -> str:
    label, batch = divmod(stratum, 1000)
    return f"{label}/{batch}"


def _splitmix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele, Lea and Flood, 2014), element by element."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
