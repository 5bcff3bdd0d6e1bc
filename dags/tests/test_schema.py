"""Code tests of the schema: rows from outside are checked before they reach the table."""

import pytest

from covertype.errors import PipelineError
from covertype.schema import COLUMNS, SOIL_TYPES, TARGET, parse_rows

GOOD = ["2596", "51", "3", "258", "0", "510", "221", "232", "148", "6279", "Rawah", "C7745", "4"]


def test_numbers_become_numbers_and_categories_stay() -> None:
    assert parse_rows([GOOD]) == [
        (2596, 51, 3, 258, 0, 510, 221, 232, 148, 6279, "Rawah", "C7745", 4)
    ]


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
        (0, None, "Elevation"),
        (4, "1e3", "Vertical_Distance_To_Hydrology"),
        (5, "99999", "Horizontal_Distance_To_Roadways"),
        (10, "rawah", "Wilderness_Area"),
        (11, "7745", "Soil_Type"),
        (12, "7", "Cover_Type"),
        (12, "-1", "Cover_Type"),
    ],
)
def test_a_bad_value_is_named_with_its_row(position: int, value: object, named: str) -> None:
    bad: list[object] = [*GOOD]
    bad[position] = value
    with pytest.raises(PipelineError, match=rf"Row 2 .* as {named}"):
        parse_rows([GOOD, bad])


@pytest.mark.parametrize("row", [GOOD[:-1], [*GOOD, "1"], "text", None, {"Elevation": "1"}])
def test_a_row_of_another_shape_is_refused(row: object) -> None:
    with pytest.raises(PipelineError, match="not a list of 13 values"):
        parse_rows([row])


def test_a_batch_without_rows_is_refused() -> None:
    with pytest.raises(PipelineError, match="no rows"):
        parse_rows([])
