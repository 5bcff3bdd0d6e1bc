"""The Covertype table, and its rows out of the matrix that UCI publishes.

The matrix has 55 integers a row: ten measurements, one flag for each of 4 wilderness areas, one
flag for each of 40 soil types, and the cover type 1 to 7. The table has the flags of a group
folded into one name and the cover type counted from 0.

Source: Blackard, J. A. and Dean, D. J. (1999), UCI Machine Learning Repository, "Covertype".
The names of the areas and the codes of the soils (US Forest Service ecological landtype units)
are those of its `covtype.info`.
"""

from collections.abc import Iterable, Iterator

MEASUREMENTS = (
    "Elevation",
    "Aspect",
    "Slope",
    "Horizontal_Distance_To_Hydrology",
    "Vertical_Distance_To_Hydrology",
    "Horizontal_Distance_To_Roadways",
    "Hillshade_9am",
    "Hillshade_Noon",
    "Hillshade_3pm",
    "Horizontal_Distance_To_Fire_Points",
)
COLUMNS = (*MEASUREMENTS, "Wilderness_Area", "Soil_Type", "Cover_Type")

WILDERNESS_AREAS = ("Rawah", "Neota", "Commanche", "Cache")
SOIL_TYPES = tuple(
    f"C{code}"
    for code in (
        *(2702, 2703, 2704, 2705, 2706, 2717, 3501, 3502, 4201, 4703),
        *(4704, 4744, 4758, 5101, 5151, 6101, 6102, 6731, 7101, 7102),
        *(7103, 7201, 7202, 7700, 7701, 7702, 7709, 7710, 7745, 7746),
        *(7755, 7756, 7757, 7790, 8703, 8707, 8708, 8771, 8772, 8776),
    )
)
COVER_TYPE_COUNT = 7


def rows_from_matrix(lines: Iterable[str]) -> Iterator[list[str]]:
    """Turns the lines of the UCI matrix, without its header, into rows of the table.

    Args:
        lines: Comma-separated lines of 55 integers.

    Yields:
        The 13 values of a row, in the order of `COLUMNS`.

    Raises:
        ValueError: A line is not a row of the matrix; the message has its number (from 1).
    """
    # The flags and the class take few distinct forms (under 1,200), so each is decoded once.
    decoded: dict[str, tuple[str, str, str]] = {}
    for number, line in enumerate(lines, start=1):
        *measurements, encoded = line.rstrip("\n").split(",", len(MEASUREMENTS))
        try:
            if encoded not in decoded:
                decoded[encoded] = _decode_categories(encoded.split(","))
        except ValueError as error:
            raise ValueError(f"Line {number} of the matrix: {error}") from error
        yield [*measurements, *decoded[encoded]]


def _decode_categories(fields: list[str]) -> tuple[str, str, str]:
    """Gives wilderness area, soil type and cover type for the fields after the measurements."""
    soil_start = len(WILDERNESS_AREAS)
    cover_type_start = soil_start + len(SOIL_TYPES)
    if len(fields) != cover_type_start + 1:
        raise ValueError(f"{len(fields)} fields after the measurements")
    cover_type = int(fields[cover_type_start]) - 1
    if cover_type not in range(COVER_TYPE_COUNT):
        raise ValueError(f"cover type {fields[cover_type_start]} is not 1 to {COVER_TYPE_COUNT}")
    return (
        WILDERNESS_AREAS[_position_of_flag(fields[:soil_start])],
        SOIL_TYPES[_position_of_flag(fields[soil_start:cover_type_start])],
        str(cover_type),
    )


def _position_of_flag(flags: list[str]) -> int:
    """Gives the position of the only "1" among "0"s."""
    if sorted(flags) != ["0"] * (len(flags) - 1) + ["1"]:
        raise ValueError(f"not exactly one flag is set in {','.join(flags)}")
    return flags.index("1")
