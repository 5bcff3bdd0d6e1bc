"""The feature schema that a model brings along: what a row holds and what the classes are."""

import math
from collections import Counter
from typing import Annotated, Any, Literal

import msgspec

LARGEST_NUMBER = math.nextafter(2.0**128 - 2.0**103, 0.0)
"""The largest number that is accepted: what is beyond it does not round to a float32."""

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class NumberInput(msgspec.Struct, frozen=True, tag_field="kind", tag="number"):
    """A numeric column."""

    name: Name


class CategoryInput(msgspec.Struct, frozen=True, tag_field="kind", tag="category"):
    """A column with a fixed list of values; the graph takes a value's index in the list."""

    name: Name
    categories: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]


class ClassLabel(msgspec.Struct, frozen=True):
    """A class that the model can answer."""

    number: int
    name: Name


class OnnxGraph(msgspec.Struct, frozen=True):
    """The file with the graph, its digest, and the input and output to use."""

    file: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")]
    input: Name
    output: Name
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class FeatureSchema(msgspec.Struct, frozen=True):
    """``metadata.feature_schema`` of a model's ``MLmodel`` file."""

    format: Literal[1]
    inputs: Annotated[tuple[NumberInput | CategoryInput, ...], msgspec.Meta(min_length=1)]
    target: Name
    classes: Annotated[tuple[ClassLabel, ...], msgspec.Meta(min_length=1)]
    onnx: OnnxGraph

    def __post_init__(self) -> None:
        """Refuse names and numbers that stand twice (msgspec reports it with the path)."""
        _refuse_repeated("input", [column.name for column in self.inputs])
        _refuse_repeated("class number", [label.number for label in self.classes])
        for column in self.inputs:
            if isinstance(column, CategoryInput):
                _refuse_repeated(f"category of {column.name}", column.categories)


class SchemaError(ValueError):
    """A model without a usable feature schema."""


def _refuse_repeated(what: str, values: "list[str] | list[int] | tuple[str, ...]") -> None:
    repeated = [value for value, count in Counter(values).items() if count > 1]
    if repeated:
        raise ValueError(f"{what} given twice: {repeated}")


def parse_schema(mlmodel: object) -> FeatureSchema:
    """Take the feature schema out of a parsed ``MLmodel`` file.

    Args:
        mlmodel: What the YAML file holds.

    Raises:
        SchemaError: It is missing or malformed; the message says where.
    """
    metadata = mlmodel.get("metadata") if isinstance(mlmodel, dict) else None
    schema = metadata.get("feature_schema") if isinstance(metadata, dict) else None
    if schema is None:
        raise SchemaError("MLmodel has no metadata.feature_schema")
    try:
        return msgspec.convert(schema, FeatureSchema)
    except msgspec.ValidationError as error:
        raise SchemaError(f"metadata.feature_schema: {error}") from error


def row_json_schema(schema: FeatureSchema) -> dict[str, Any]:
    """Return the JSON Schema of one row, for the OpenAPI document."""
    properties: dict[str, Any] = {}
    for column in schema.inputs:
        if isinstance(column, CategoryInput):
            properties[column.name] = {
                "type": "string",
                "enum": list(column.categories),
                "examples": [column.categories[0]],
            }
        else:
            properties[column.name] = {
                "type": "number",
                "minimum": -LARGEST_NUMBER,
                "maximum": LARGEST_NUMBER,
                "examples": [0],
            }
    return {
        "type": "object",
        "properties": properties,
        "required": [column.name for column in schema.inputs],
        "additionalProperties": False,
        "example": example_row(schema),
    }


def example_row(schema: FeatureSchema) -> dict[str, str | float]:
    """Return a row that the schema accepts."""
    return {
        column.name: column.categories[0] if isinstance(column, CategoryInput) else 0
        for column in schema.inputs
    }
