"""The Covertype table: the one place that knows its columns, categories and classes.

Source: UCI Covertype (Blackard and Dean, 1999), in the form the data API hands out: ten
measurements, the wilderness area and the soil type by name, and the cover type numbered from 0
(the UCI number less one).
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["number", "category"]


@dataclass(frozen=True)
class Column:
    """One column as clients, Postgres and the model know it.

    Attributes:
        name: The name clients send, and the name in the model's feature schema.
        kind: A measurement, or one of a fixed list of categories.
        sql_type: Its Postgres type.
        categories: The permitted values of a category, in the order of their index in the model.
        minimum: The least permitted value of a number.
        maximum: The greatest permitted value of a number.
    """

    name: str
    kind: Kind
    sql_type: str
    categories: tuple[str, ...] = ()
    minimum: int = 0
    maximum: int = 0

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


def _number(name: str, minimum: int, maximum: int) -> Column:
    return Column(name, "number", "smallint", minimum=minimum, maximum=maximum)


# Metres, degrees (aspect, slope) and shades of grey (0..255). What lies outside cannot be measured
# in the study area; `features` relies on the distances' limits.
INPUTS = (
    _number("Elevation", 0, 4500),
    _number("Aspect", 0, 360),
    _number("Slope", 0, 90),
    _number("Horizontal_Distance_To_Hydrology", 0, 4000),
    _number("Vertical_Distance_To_Hydrology", -800, 800),
    _number("Horizontal_Distance_To_Roadways", 0, 10000),
    _number("Hillshade_9am", 0, 255),
    _number("Hillshade_Noon", 0, 255),
    _number("Hillshade_3pm", 0, 255),
    _number("Horizontal_Distance_To_Fire_Points", 0, 10000),
    Column("Wilderness_Area", "category", "text", WILDERNESS_AREAS),
    Column("Soil_Type", "category", "text", SOIL_TYPES),
)
CLASSES = (
    "Spruce/Fir",
    "Lodgepole Pine",
    "Ponderosa Pine",
    "Cottonwood/Willow",
    "Aspen",
    "Douglas-fir",
    "Krummholz",
)

TARGET = _number("Cover_Type", 0, len(CLASSES) - 1)

COLUMNS = (*INPUTS, TARGET)
"""The columns in the order of the data API's rows and of the table."""

BATCHES = tuple(range(1, 11))
"""The numbers of the batches that the data arrives in."""
