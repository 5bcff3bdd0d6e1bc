import pytest

from covertype_source.covertype import (
    COLUMNS,
    COVER_TYPE_COUNT,
    SOIL_TYPES,
    WILDERNESS_AREAS,
    rows_from_matrix,
)

MEASUREMENTS = "2596,51,3,258,0,510,221,232,-148,6279"


def matrix_line(area: int, soil: int, cover_type: int) -> str:
    """Writes a line of the UCI matrix with the given flags (from 0) and class (from 1)."""
    areas = ["1" if i == area else "0" for i in range(len(WILDERNESS_AREAS))]
    soils = ["1" if i == soil else "0" for i in range(len(SOIL_TYPES))]
    return ",".join([MEASUREMENTS, *areas, *soils, str(cover_type)]) + "\n"


def test_names_are_complete_and_distinct() -> None:
    assert len(set(COLUMNS)) == 13
    assert len(set(WILDERNESS_AREAS)) == 4
    assert len(set(SOIL_TYPES)) == 40


def test_flags_become_names_and_class_counts_from_zero() -> None:
    lines = [matrix_line(0, 28, 5), matrix_line(3, 0, 1), matrix_line(0, 39, COVER_TYPE_COUNT)]

    rows = list(rows_from_matrix(lines))

    measurements = MEASUREMENTS.split(",")
    assert rows == [
        [*measurements, "Rawah", "C7745", "4"],
        [*measurements, "Cache", "C2702", "0"],
        [*measurements, "Rawah", "C8776", "6"],
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (matrix_line(4, 0, 1), "not exactly one flag"),
        (matrix_line(0, 40, 1), "not exactly one flag"),
        (matrix_line(0, 0, 1).replace(",0,", ",1,"), "not exactly one flag"),
        (matrix_line(0, 0, 0), "cover type 0"),
        (matrix_line(0, 0, 8), "cover type 8"),
        (matrix_line(0, 0, 1).replace("0,0,0,", "0,0,"), "fields after the measurements"),
        (f"{MEASUREMENTS}\n", "Line 2"),
        ("\n", "Line 2"),
    ],
)
def test_what_is_not_a_row_is_refused_with_its_line_number(line: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        list(rows_from_matrix([matrix_line(1, 1, 1), line]))

    assert "Line 2" in str(caught.value)
