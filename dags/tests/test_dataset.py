"""Data tests: expectations on real rows, and on their split."""

import numpy as np
import pandas as pd
import pytest

from covertype.dataset import Rows, encode, split, unseen
from covertype.errors import PipelineError
from covertype.schema import BATCHES, CLASSES, COLUMNS, INPUTS
from covertype.store import BATCH_COLUMN

RANGES = {
    "Elevation": (1859, 3858),
    "Aspect": (0, 360),
    "Slope": (0, 66),
    "Horizontal_Distance_To_Hydrology": (0, 1397),
    "Vertical_Distance_To_Hydrology": (-173, 601),
    "Horizontal_Distance_To_Roadways": (0, 7117),
    "Hillshade_9am": (0, 254),
    "Hillshade_Noon": (0, 254),
    "Hillshade_3pm": (0, 254),
    "Horizontal_Distance_To_Fire_Points": (0, 7173),
}


def test_the_columns_are_those_of_the_schema(sample: pd.DataFrame) -> None:
    assert list(sample.columns) == [*(column.name for column in COLUMNS), BATCH_COLUMN]


def test_there_are_no_gaps_and_no_duplicates(sample: pd.DataFrame) -> None:
    assert not sample.isna().any().any()
    assert not sample.duplicated().any()


@pytest.mark.parametrize("name", RANGES)
def test_numbers_are_in_range(sample: pd.DataFrame, name: str) -> None:
    low, high = RANGES[name]
    assert sample[name].between(low, high).all()


def test_categories_and_classes_are_known(sample: pd.DataFrame, rows: Rows) -> None:
    for column in INPUTS:
        if column.kind == "category":
            assert set(sample[column.name]) <= set(column.categories)
    assert set(rows.labels.tolist()) == set(range(len(CLASSES)))


def test_encoding_gives_categories_their_index(sample: pd.DataFrame, rows: Rows) -> None:
    assert rows.features.dtype == np.float32
    for position, column in enumerate(INPUTS):
        values = rows.features[:, position]
        if column.kind == "category":
            decoded = sorted(column.categories[int(value)] for value in values)
            assert decoded == sorted(sample[column.name])
        else:
            assert sorted(values.tolist()) == sorted(sample[column.name].astype(float))


def test_order_of_loading_does_not_matter(sample: pd.DataFrame, rows: Rows) -> None:
    shuffled = encode(sample.sample(frac=1, random_state=1))
    assert np.array_equal(shuffled.features, rows.features)
    assert np.array_equal(shuffled.labels, rows.labels)
    assert shuffled.fingerprint == rows.fingerprint


def test_the_fingerprint_sees_every_value(sample: pd.DataFrame, rows: Rows) -> None:
    changes: dict[str, int | str] = {
        "Slope": 77,
        "Soil_Type": "C8776",
        "Cover_Type": 3,
        BATCH_COLUMN: 11,
    }
    for column, value in changes.items():
        changed = sample.copy()
        assert changed[column].iloc[1500] != value
        changed.loc[changed.index[1500], column] = value
        assert encode(changed).fingerprint != rows.fingerprint
    assert rows.batch_counts() == dict.fromkeys(BATCHES, 300)


def test_the_hash_is_the_same_on_every_machine() -> None:
    row = Rows(
        np.array([[2596, 51, 3, 258, 0, 510, 221, 232, 148, 6279, 0, 28]], dtype=np.float32),
        np.array([4]),
        np.array([1]),
    )
    assert row.hashes.tolist() == [7319567967338200032]


def test_parts_are_disjoint_and_complete(rows: Rows) -> None:
    parts = split(rows)
    hashes = [set(part.hashes.tolist()) for part in (parts.train, parts.validation, parts.test)]
    assert len(set().union(*hashes)) == sum(map(len, hashes)) == len(rows)
    assert set(parts.fit.hashes.tolist()) == hashes[0] | hashes[1]


def test_every_stratum_is_held_out_in_proportion(rows: Rows) -> None:
    parts = split(rows)
    for stratum, count in zip(*np.unique(rows.strata, return_counts=True), strict=True):
        assert abs((parts.test.strata == stratum).sum() - 0.1 * count) <= 0.5
        # Lies between two rounded borders.
        assert abs((parts.validation.strata == stratum).sum() - 0.1 * count) < 1
    assert set(parts.test.batches.tolist()) == set(BATCHES)
    assert set(parts.test.labels.tolist()) == set(range(len(CLASSES)))


def test_the_split_does_not_depend_on_the_order(sample: pd.DataFrame, rows: Rows) -> None:
    again = split(encode(sample.iloc[::-1]))
    assert np.array_equal(again.test.features, split(rows).test.features)
    assert again.cuts == split(rows).cuts


def test_held_out_rows_of_the_same_load_are_unseen_and_the_others_not(rows: Rows) -> None:
    parts = split(rows)
    assert unseen(parts.test, parts.cuts).all()
    assert not unseen(parts.fit, parts.cuts).any()


def test_no_row_that_was_trained_on_is_unseen_after_another_load(sample: pd.DataFrame) -> None:
    first = split(encode(sample.sample(frac=0.6, random_state=1)))
    second = split(encode(sample.sample(frac=0.6, random_state=2)))
    trained_on = set(first.fit.hashes.tolist())
    comparable = second.test.take(unseen(second.test, first.cuts))
    assert not trained_on & set(comparable.hashes.tolist())
    assert trained_on & set(second.test.hashes.tolist()), "the loads overlap, or this tests nothing"
    assert len(comparable) > 0.5 * len(second.test)


def test_too_few_rows_are_refused(sample: pd.DataFrame) -> None:
    with pytest.raises(PipelineError, match="999 rows, fewer than 1000"):
        encode(sample.head(999))
