"""Makes questions to a model out of rows: `python -m covertype_source.questions WHEEL STEP FILE`.

A question is the body of one prediction: the columns by name, without the cover type, as one line
of JSON. The table is ordered in space, so one row of every STEP is a sample of all of it.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from covertype_source.build import BuildError, covertype_rows
from covertype_source.covertype import COLUMNS, MEASUREMENTS

_NAMES = COLUMNS[:-1]  # without what is to be predicted


def questions(rows: Iterable[Sequence[str]], step: int) -> Iterator[str]:
    """Gives the first row and every `step`-th one after it as JSON objects.

    Args:
        rows: The 13 values of each row, in the order of `covertype.COLUMNS`.
        step: At least 1.
    """
    encode = json.JSONEncoder(separators=(",", ":")).encode
    for row in islice(rows, 0, None, step):
        yield encode(
            {
                name: int(value) if name in MEASUREMENTS else value
                for name, value in zip(_NAMES, row, strict=False)
            }
        )


def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: The command line without the program's name; that of the process when None.

    Returns:
        The exit code: 0, or 1 with a message on standard error.
    """
    parser = argparse.ArgumentParser(
        prog="python -m covertype_source.questions",
        description="Write rows of the data set as bodies of predictions, one a line.",
    )
    parser.add_argument("wheel", type=Path, help="the wheel, downloaded with dataset.txt")
    parser.add_argument("step", type=int, help="one row of every STEP is taken")
    parser.add_argument("file", type=Path, help="where they go")
    options = parser.parse_args(arguments)
    try:
        rows = covertype_rows(options.wheel)
        lines = [f"{question}\n" for question in questions(rows, options.step)]
        options.file.write_text("".join(lines), encoding="ascii")
    except (OSError, ValueError, BuildError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{len(lines)} questions: {options.file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
