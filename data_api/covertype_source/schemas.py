"""The bodies of the answers, as the OpenAPI document shows them."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from covertype_source.batches import BATCH_COUNT, GROUP_COUNT
from covertype_source.covertype import COLUMNS

_EXAMPLE_ROW = [
    *("2596", "51", "3", "258", "0", "510", "221", "232", "148", "6279"),
    *("Rawah", "C7745", "4"),
]


class Batch(BaseModel):
    """Random rows of a group's current batch."""

    group_number: int = Field(ge=1, le=GROUP_COUNT)
    batch_number: int = Field(ge=1, le=BATCH_COUNT, description="The batch that the rows are of.")
    data: list[Annotated[list[str], Field(min_length=len(COLUMNS), max_length=len(COLUMNS))]] = (
        Field(
            description=f"Rows; their values are: {', '.join(COLUMNS)}.",
            examples=[[_EXAMPLE_ROW]],
        )
    )


class Message(BaseModel):
    """A sentence on what was done."""

    message: str


class Problem(BaseModel):
    """A sentence on what went wrong and what to do."""

    detail: str


class Liveness(BaseModel):
    """The process answers."""

    status: Literal["live"] = "live"


class Readiness(BaseModel):
    """Batches can be handed out."""

    status: Literal["ready"] = "ready"
    rows: int = Field(description="The number of rows of the whole data set.")


class Overview(BaseModel):
    """What there is, and where."""

    service: str
    columns: list[str] = Field(description="What the values of a row are.")
    endpoints: dict[str, str] = Field(description="A path, and what it gives.")
