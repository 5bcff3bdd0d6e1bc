"""Data tests: expectations on real rows, and on their split."""

import numpy as np
import pandas as pd
import pytest

from covertype.dataset import Rows, Split, encode, folds, split, stratified_share
from covertype.errors import PipelineError
from covertype.schema import BATCHES, CLASSES, COLUMNS, INPUTS, TARGET
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


def test_parts_are_disjoint_and_complete(rows: Rows, parts: Split) -> None:
    fitted, held_out = (set(part.hashes.tolist()) for part in (parts.fit, parts.test))
    assert not fitted & held_out
    assert fitted | held_out == set(rows.hashes.tolist())


def test_a_tenth_is_held_out_of_all_batches_and_classes(rows: Rows, parts: Split) -> None:
    assert 0.09 < len(parts.test) / len(rows) < 0.11
    assert set(parts.test.batches.tolist()) == set(BATCHES)
    assert set(parts.test.labels.tolist()) == set(range(len(CLASSES)))


def test_a_row_is_held_out_of_every_load_or_of_none(sample: pd.DataFrame, parts: Split) -> None:
    held_out = set(parts.test.hashes.tolist())
    for seed in (1, 2):
        other = split(encode(sample.sample(frac=0.6, random_state=seed)))
        assert set(other.test.hashes.tolist()) <= held_out
        assert not set(other.fit.hashes.tolist()) & held_out


def test_the_split_does_not_depend_on_the_order(sample: pd.DataFrame, parts: Split) -> None:
    again = split(encode(sample.iloc[::-1]))
    assert np.array_equal(again.test.features, parts.test.features)


def test_a_share_and_the_folds_have_all_classes_in_proportion(rows: Rows) -> None:
    share = stratified_share(rows, 0.25)
    fold = folds(rows, 3)
    for number in range(len(CLASSES)):
        count = (rows.labels == number).sum()
        assert (share.labels == number).sum() == np.ceil(0.25 * count)
        sizes = np.bincount(fold[rows.labels == number], minlength=3)
        assert sizes.max() - sizes.min() <= 1
    assert len(stratified_share(rows, 1)) == len(rows)


def test_limits_of_the_schema_hold_for_real_rows() -> None:
    for column in (*INPUTS, TARGET):
        if column.name in RANGES:
            low, high = RANGES[column.name]
            assert column.minimum <= low < high <= column.maximum


def test_too_few_rows_are_refused(sample: pd.DataFrame) -> None:
    with pytest.raises(PipelineError, match="999 rows, fewer than 1000"):
        encode(sample.head(999))
