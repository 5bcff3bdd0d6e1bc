"""Code tests of validation: a bad row is set aside with its reason, the others are kept."""

from typing import Any

import numpy as np
import pytest

from covertype.dataset import Rows
from covertype.schema import BATCHES, COLUMNS, SOIL_TYPES, TARGET
from covertype.validation import check_rows

GOOD = ["2596", "51", "3", "258", "0", "510", "221", "232", "148", "6279", "Rawah", "C7745", "4"]
OTHER = ["2590", *GOOD[1:]]


def changed(position: int, value: object) -> list[Any]:
    row: list[Any] = [*GOOD]
    row[position] = value
    return row


def test_real_rows_are_all_good_and_hashed_as_the_split_does(
    raw_batches: dict[int, list[list[str]]], rows: Rows
) -> None:
    checked = [check_rows(raw_batches[batch]) for batch in BATCHES]
    assert all(not one.rejected for one in checked)
    assert [one.rows for one in checked] == list(raw_batches.values())
    hashes = np.concatenate([one.hashes for one in checked])
    assert np.array_equal(np.sort(hashes), np.sort(rows.hashes))


def test_names_are_unique_and_the_target_is_last() -> None:
    assert len({column.name for column in COLUMNS}) == 13
    assert COLUMNS[-1] is TARGET
    assert len(set(SOIL_TYPES)) == 40
    assert list(SOIL_TYPES) == sorted(SOIL_TYPES)


@pytest.mark.parametrize(
    ("position", "value", "named"),
    [
        (0, "high", "Elevation"),
        (0, "", "Elevation"),
        (0, "4501", "Elevation"),
        (0, "-1", "Elevation"),
        (0, " 2596", "Elevation"),
        (0, "\uff12\uff15\uff19\uff16", "Elevation"),
        (0, "9" * 30, "Elevation"),
        (0, None, "Elevation"),
        (0, 2596, "Elevation"),
        (0, True, "Elevation"),
        (0, ["2596"], "Elevation"),
        (1, "361", "Aspect"),
        (4, "1e3", "Vertical_Distance_To_Hydrology"),
        (4, "-801", "Vertical_Distance_To_Hydrology"),
        (6, "256", "Hillshade_9am"),
        (10, "rawah", "Wilderness_Area"),
        (11, "7745", "Soil_Type"),
        (11, None, "Soil_Type"),
        (12, "7", "Cover_Type"),
        (12, "-1", "Cover_Type"),
    ],
)
def test_a_bad_value_is_named(position: int, value: object, named: str) -> None:
    bad = changed(position, value)
    checked = check_rows([GOOD, bad, OTHER])
    assert checked.rows == [GOOD, OTHER]
    assert len(checked.hashes) == 2
    (rejection,) = checked.rejected
    assert (rejection.row, rejection.column) == (bad, named)
    assert f"{value!r} is not" in rejection.reason


@pytest.mark.parametrize("value", ["-5", "-0", "007"])
def test_other_ways_to_write_a_number_are_good(value: str) -> None:
    assert check_rows([changed(4, value)]).rejected == []


def test_the_first_of_two_wrong_columns_is_named() -> None:
    bad = [*changed(1, "x")[:12], "9"]
    assert check_rows([bad]).rejected[0].column == "Aspect"


@pytest.mark.parametrize("row", [GOOD[:-1], [*GOOD, "1"], "text", None, {"Elevation": "1"}])
def test_a_row_of_another_shape_is_set_aside(row: object) -> None:
    checked = check_rows([GOOD, row])
    assert checked.rows == [GOOD]
    (rejection,) = checked.rejected
    assert (rejection.row, rejection.column) == (row, None)
    assert "not a list of 13 values" in rejection.reason
    assert check_rows([row]).rejected_share == 1.0


def test_a_row_that_comes_again_is_set_aside_however_it_is_written() -> None:
    again = ["02596", *GOOD[1:]]
    checked = check_rows([GOOD, OTHER, GOOD, again])
    assert checked.rows == [GOOD, OTHER]
    assert [one.row for one in checked.rejected] == [GOOD, again]
    assert "An earlier row" in checked.rejected[0].reason


def test_rows_that_differ_in_the_class_alone_are_no_duplicates() -> None:
    assert check_rows([GOOD, changed(12, "5")]).rejected == []


def test_a_row_of_another_batch_is_set_aside() -> None:
    checked = check_rows([GOOD, OTHER]).without(check_rows([OTHER]).hashes)
    assert checked.rows == [GOOD]
    assert checked.rejected[0].row == OTHER
    assert "Another batch" in checked.rejected[0].reason
    assert checked.rejected_share == 0.5
