"""How a wrong request is answered: one shape for every route, the one FastAPI's users know.

A 422 carries ``{"detail": [{"loc", "msg", "type"}, ...]}``, every other error
``{"detail": "a sentence"}``.
"""

import json
from collections.abc import Sequence
from typing import TypedDict


class Problem(TypedDict):
    """One thing that is wrong with a request."""

    loc: list[str | int]
    msg: str
    type: str


class ServiceError(Exception):
    """A request that gets an error with a sentence for the client.

    Attributes:
        status: HTTP status code.
        detail: The sentence.
        retry_after: Seconds after which asking again makes sense, or None.
    """

    def __init__(self, status: int, detail: str, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.retry_after = retry_after


class InvalidBodyError(Exception):
    """A body with at least one problem; the answer is a 422 that lists them."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(problems)
        self.problems = problems


def body_too_large(limit: int) -> ServiceError:
    """Return the error for a body of more than ``limit`` bytes."""
    return ServiceError(413, f"The body is larger than {limit} bytes, the most that is accepted.")


def encode_detail(detail: str | Sequence[Problem]) -> bytes:
    """Return an error's body as JSON.

    It is pure ASCII: a client's own text may be echoed, and JSON can spell half a surrogate
    pair, which no UTF-8 can.
    """
    return json.dumps({"detail": detail}, ensure_ascii=True, separators=(",", ":")).encode("ascii")
