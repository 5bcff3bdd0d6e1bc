"""Makes the data set out of a wheel: `python -m covertype_source.build WHEEL OUT_DIR`.

The 581,012 rows of Covertype are inside the wheel of scikit-multiflow, which any package index
has, so that the image can be built where no other download is possible. `dataset.txt` beside this
package is the requirements file that pip downloads it with.
"""

import argparse
import hashlib
import io
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from covertype_source.covertype import COLUMNS, rows_from_matrix
from covertype_source.dataset import write_dataset


class BuildError(ValueError):
    """The wheel, or the table that comes out of it, is not the expected one."""


@dataclass(frozen=True)
class MatrixSource:
    r"""A wheel with the UCI matrix in it.

    Attributes:
        wheel_sha256: Of the wheel file, in hexadecimal.
        member: Path of the matrix inside the wheel: comma-separated, with a header.
        table_sha256: Of the table as CSV (header, "\n" line ends), in hexadecimal.
    """

    wheel_sha256: str
    member: str
    table_sha256: str


COVERTYPE = MatrixSource(
    wheel_sha256="17842a0719992871f66f2edd475c3cf947be73d16595cb28d9ec26a79cfc58de",
    member="skmultiflow/data/datasets/covtype.csv",
    table_sha256="8f4f5cdac5d038966242277ede0fc34cf745c2e8e022c3798c049971ca6d4f4a",
)


def covertype_rows(wheel: Path, source: MatrixSource = COVERTYPE) -> Iterator[list[str]]:
    """Reads the table out of the wheel, row by row, and checks it.

    Args:
        wheel: The wheel file.
        source: What the wheel and the table must be.

    Yields:
        The 13 values of a row, in the order of `covertype.COLUMNS`.

    Raises:
        BuildError: The wheel is not the expected one (before the first row), or the table is not
            (after the last row).
        OSError: The wheel cannot be read.
    """
    with wheel.open("rb") as file:
        wheel_sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if wheel_sha256 != source.wheel_sha256:
        raise BuildError(
            f"{wheel} is not the expected wheel: its sha256 is {wheel_sha256}, "
            f"expected {source.wheel_sha256}. Download it again with dataset.txt."
        )
    table = hashlib.sha256(_csv_line(COLUMNS))
    with zipfile.ZipFile(wheel) as archive, archive.open(source.member) as member:
        lines = io.TextIOWrapper(member, encoding="ascii")
        next(lines)  # the header
        for row in rows_from_matrix(lines):
            table.update(_csv_line(row))
            yield row
    if table.hexdigest() != source.table_sha256:
        raise BuildError(
            f"The table out of {wheel} is not the expected one: its sha256 as CSV is "
            f"{table.hexdigest()}, expected {source.table_sha256}."
        )


def _csv_line(values: list[str] | tuple[str, ...]) -> bytes:
    """Encodes values that need no quoting as a line of CSV."""
    return (",".join(values) + "\n").encode("ascii")


def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: The command line without the program's name; that of the process when None.

    Returns:
        The exit code: 0, or 1 with a message on standard error.
    """
    parser = argparse.ArgumentParser(
        prog="python -m covertype_source.build",
        description="Make the data set that the API serves out of the wheel of scikit-multiflow.",
    )
    parser.add_argument("wheel", type=Path, help="the wheel, downloaded with dataset.txt")
    parser.add_argument("directory", type=Path, help="where the data set goes (DATA_DIR)")
    options = parser.parse_args(arguments)
    try:
        row_count = write_dataset(options.directory, covertype_rows(options.wheel))
    except (OSError, BuildError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{row_count} rows, sha256 of the table {COVERTYPE.table_sha256}: {options.directory}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
