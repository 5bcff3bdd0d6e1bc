"""The Covertype table: the one place that knows its columns, categories and classes.

Source: UCI Covertype (Blackard and Dean, 1999), in the form the data API hands out: ten
measurements, the wilderness area and the soil type by name, and the cover type numbered from 0
(the UCI number less one).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from covertype.errors import PipelineError

Kind = Literal["number", "category"]


@dataclass(frozen=True)
class Column:
    """One column as clients, Postgres and the model know it.

    Attributes:
        name: The name clients send, and the name in the model's feature schema.
        kind: A measurement, or one of a fixed list of categories.
        sql_type: Its Postgres type.
        categories: The permitted values of a category, in the order of their index in the model.
    """

    name: str
    kind: Kind
    sql_type: str
    categories: tuple[str, ...] = ()

    @property
    def sql_name(self) -> str:
        """The column's name in Postgres."""
        return self.name.lower()


WILDERNESS_AREAS = ("Rawah", "Neota", "Commanche", "Cache")

# The US Forest Service's Ecological Landtype Units of the study area: first digit the climatic
# zone, second the geologic zone. Kept in ascending order, so the index itself orders the soils by
# climate, which trees make use of.
SOIL_TYPES = tuple(
    f"C{unit}"
    for unit in (
        *(2702, 2703, 2704, 2705, 2706, 2717, 3501, 3502, 4201, 4703),
        *(4704, 4744, 4758, 5101, 5151, 6101, 6102, 6731, 7101, 7102),
        *(7103, 7201, 7202, 7700, 7701, 7702, 7709, 7710, 7745, 7746),
        *(7755, 7756, 7757, 7790, 8703, 8707, 8708, 8771, 8772, 8776),
    )
)

INPUTS = (
    Column("Elevation", "number", "smallint"),
    Column("Aspect", "number", "smallint"),
    Column("Slope", "number", "smallint"),
    Column("Horizontal_Distance_To_Hydrology", "number", "smallint"),
    Column("Vertical_Distance_To_Hydrology", "number", "smallint"),
    Column("Horizontal_Distance_To_Roadways", "number", "smallint"),
    Column("Hillshade_9am", "number", "smallint"),
    Column("Hillshade_Noon", "number", "smallint"),
    Column("Hillshade_3pm", "number", "smallint"),
    Column("Horizontal_Distance_To_Fire_Points", "number", "smallint"),
    Column("Wilderness_Area", "category", "text", WILDERNESS_AREAS),
    Column("Soil_Type", "category", "text", SOIL_TYPES),
)
TARGET = Column("Cover_Type", "number", "smallint")
CLASSES = (
    "Spruce/Fir",
    "Lodgepole Pine",
    "Ponderosa Pine",
    "Cottonwood/Willow",
    "Aspen",
    "Douglas-fir",
    "Krummholz",
)

COLUMNS = (*INPUTS, TARGET)
"""The columns in the order of the data API's rows and of the table."""

BATCHES = tuple(range(1, 11))
"""The numbers of the batches that the data arrives in."""

Row = tuple[int | str, ...]
"""One checked row, in the order of ``COLUMNS``."""

_SMALLINT = range(-(2**15), 2**15)


def parse_rows(rows: Sequence[Any]) -> list[Row]:
    """Check the rows of one batch and give their numbers a number's type.

    Args:
        rows: As decoded from the data API: lists of ``len(COLUMNS)`` strings.

    Returns:
        The rows, in the same order.

    Raises:
        PipelineError: A row does not fit the table; names the row, the column and the value.
    """
    if not rows:
        raise PipelineError("The batch has no rows: look at the log of the data API.")
    return [_parse_row(row, position) for position, row in enumerate(rows, start=1)]


def _parse_row(row: Any, position: int) -> Row:
    if not isinstance(row, list) or len(row) != len(COLUMNS):
        raise PipelineError(
            f"Row {position} of the batch is not a list of {len(COLUMNS)} values: {row!r:.200}. "
            "Check that the connection covertype_data_api points to the data API."
        )
    return tuple(
        _parse_value(column, value, position) for column, value in zip(COLUMNS, row, strict=True)
    )


def _parse_value(column: Column, value: Any, position: int) -> int | str:
    if column.kind == "category":
        if value in column.categories:
            return str(value)
    else:
        try:
            number = int(value)
        except (TypeError, ValueError):
            pass
        else:
            permitted = range(len(CLASSES)) if column is TARGET else _SMALLINT
            if number in permitted:
                return number
    raise PipelineError(
        f"Row {position} of the batch has {value!r:.100} as {column.name}, which does not fit the "
        "table. Nothing of this batch was stored: ask the owner of the data API."
    )
