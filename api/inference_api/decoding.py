"""From a request's body to the model's input.

The fast path is one strict msgspec decode into a struct made from the model's schema. Only a
body that it refuses is looked at a second time, slowly, to name everything that is wrong.
"""

import json
import struct
from typing import Any

import msgspec

from inference_api.problems import InvalidBodyError, Problem, ServiceError
from inference_api.schema import CategoryInput, FeatureSchema

# Enough for a client to see every mistake in its code, and few enough that a hostile body
# (2 MiB hold some 250,000 unknown fields) cannot keep the replica busy writing the answer.
MAX_PROBLEMS = 1000
_SHOWN_CATEGORIES = 10
_SHOWN_CHARACTERS = 100

_FLOAT32 = struct.Struct("=f")


class RowDecoder:
    """Decodes bodies for one model.

    Args:
        schema: What a row must hold.
        max_rows: The longest list that is accepted.
    """

    def __init__(self, schema: FeatureSchema, max_rows: int) -> None:
        self._max_rows = max_rows
        self._columns = schema.inputs
        self._names = [column.name for column in schema.inputs]
        self._codes = {
            position: {value: code for code, value in enumerate(column.categories)}
            for position, column in enumerate(schema.inputs)
            if isinstance(column, CategoryInput)
        }
        self._code_items = tuple(self._codes.items())
        # A column may have any name; the struct's attributes have their own.
        row: Any = msgspec.defstruct(
            "Row",
            [
                (
                    f"column_{position}",
                    str if position in self._codes else float,
                    msgspec.field(name=name),
                )
                for position, name in enumerate(self._names)
            ],
            forbid_unknown_fields=True,
            gc=False,
        )
        self._row = row
        self._decode = msgspec.json.Decoder(row | list[row]).decode
        # "=" and not the faster native form: that one turns a number beyond float32 into
        # infinity, this one raises OverflowError.
        self._pack = struct.Struct(f"={len(self._names)}f").pack

    def decode(self, body: bytes) -> tuple[bytes, int]:
        """Decode one row or a list of rows.

        Args:
            body: JSON: an object, or a list of at most ``max_rows`` objects.

        Returns:
            The rows as float32 in C order, shape ``(rows, inputs)``, categories as their
            index in the schema; and the number of rows, at least 1.

        Raises:
            InvalidBodyError: Something is wrong; it lists every problem.
            ServiceError: 413, the list is longer than ``max_rows``.
        """
        try:
            decoded = self._decode(body)
            if type(decoded) is self._row:
                return self._pack_row(decoded), 1
            if 0 < len(decoded) <= self._max_rows:
                return b"".join(map(self._pack_row, decoded)), len(decoded)
        except (ValueError, KeyError, OverflowError, RecursionError) as error:
            # msgspec's errors are ValueErrors; KeyError is an unknown category.
            raise self._explain(body, error) from None
        raise self._explain(body, None)

    def _pack_row(self, row: Any) -> bytes:
        values = list(msgspec.structs.astuple(row))
        for position, codes in self._code_items:
            values[position] = codes[values[position]]
        return self._pack(*values)

    def _explain(self, body: bytes, refusal: Exception | None) -> InvalidBodyError | ServiceError:
        """Return the error that names everything that is wrong with ``body``."""
        try:
            # parse_int: a number of thousands of digits is out of range, not a reason to
            # compute with it. NaN and Infinity are no JSON, but named like any wrong value.
            decoded = json.loads(body.decode("utf-8"), parse_int=float)
        except RecursionError:
            return _not_json("it is nested too deeply")
        except ValueError as error:
            return _not_json(str(error) if body else "it is empty")

        problems: list[Problem] = []
        if not isinstance(decoded, list):
            self._explain_row(decoded, ["body"], problems)
        elif not decoded:
            problems.append(_problem(["body"], "List should hold at least one row", "too_short"))
        elif len(decoded) > self._max_rows:
            return ServiceError(
                413,
                f"The list holds {len(decoded)} rows; at most {self._max_rows} are accepted "
                "in one request.",
            )
        else:
            for index, row in enumerate(decoded):
                self._explain_row(row, ["body", index], problems)
        if not problems:
            # Only the strict decoder objects, as to a field given twice with one wrong value.
            problems.append(_problem(["body"], str(refusal), "value_error"))
        if len(problems) > MAX_PROBLEMS:
            more = len(problems) - MAX_PROBLEMS
            del problems[MAX_PROBLEMS:]
            problems.append(
                _problem(
                    ["body"],
                    f"{more} more problems; the first {MAX_PROBLEMS} are listed",
                    "too_many_problems",
                )
            )
        return InvalidBodyError(problems)

    def _explain_row(self, row: object, loc: list[str | int], problems: list[Problem]) -> None:
        if not isinstance(row, dict):
            fields = _shorten(", ".join(self._names))
            problems.append(
                _problem(loc, f"Input should be an object with the fields {fields}", "dict_type")
            )
            return
        for position, name in enumerate(self._names):
            if name not in row:
                problems.append(_problem([*loc, name], "Field required", "missing"))
            elif position in self._codes:
                self._explain_category(position, row[name], [*loc, name], problems)
            else:
                _explain_number(row[name], [*loc, name], problems)
        known = set(self._names)
        problems.extend(
            _problem([*loc, _shorten(name)], "Unknown field", "extra_forbidden")
            for name in row
            if name not in known
        )

    def _explain_category(
        self, position: int, value: object, loc: list[str | int], problems: list[Problem]
    ) -> None:
        codes = self._codes[position]
        if isinstance(value, str) and value in codes:
            return
        allowed = ", ".join(repr(category) for category in list(codes)[:_SHOWN_CATEGORIES])
        if len(codes) > _SHOWN_CATEGORIES:
            allowed += f", ... ({len(codes)} values, all of them in /openapi.json)"
        if isinstance(value, str):
            problems.append(_problem(loc, f"Input should be one of {allowed}", "enum"))
        else:
            problems.append(
                _problem(loc, f"Input should be a string, one of {allowed}", "string_type")
            )


def _explain_number(value: object, loc: list[str | int], problems: list[Problem]) -> None:
    # JSON's integers arrive as float too: see parse_int.
    if not isinstance(value, float):
        problems.append(_problem(loc, "Input should be a number", "float_type"))
        return
    try:
        finite = abs(value) < float("inf") and bool(_FLOAT32.pack(value))
    except OverflowError:
        finite = False
    if not finite:
        problems.append(
            _problem(
                loc, "Input should be a finite number of at most 3.4e38 in size", "finite_number"
            )
        )


def _problem(loc: list[str | int], msg: str, type_: str) -> Problem:
    return {"loc": loc, "msg": msg, "type": type_}


def _not_json(reason: str) -> InvalidBodyError:
    return InvalidBodyError(
        [_problem(["body"], f"The body is not JSON: {_shorten(reason)}", "json_invalid")]
    )


def _shorten(text: str) -> str:
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    return text[: _SHOWN_CHARACTERS - 3] + "..."
