"""The compact form that the rows are served from.

A directory with two files:

* `rows.jsonl`: every row as a JSON array of strings, one a line, ready to be sent.
* `rows.offsets`: where each row starts, and where the last one ends, as unsigned 32-bit integers
  in the byte order of the machine (the files are made in the image that reads them).

A response is thus a join of slices of a memory map: no parsing, no encoding, and one copy of the
rows in memory for all worker processes.
"""

import json
import mmap
from array import array
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

_ROWS_FILE = "rows.jsonl"
_OFFSETS_FILE = "rows.offsets"
_OFFSET_TYPE = "I"


class DatasetError(Exception):
    """The directory has no complete data set."""


def write_dataset(directory: Path, rows: Iterable[Sequence[str]]) -> int:
    """Writes rows in the form that `Dataset` reads.

    The files get their names only once all rows are written: when `rows` raises, the directory
    has what it had before.

    Args:
        directory: Where to; it is made when it is missing.
        rows: The values of each row.

    Returns:
        The number of rows.

    Raises:
        OSError: The files cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    partial_rows = directory / f"{_ROWS_FILE}.partial"
    partial_offsets = directory / f"{_OFFSETS_FILE}.partial"
    encode = json.JSONEncoder(separators=(",", ":")).encode
    offsets = array(_OFFSET_TYPE, [0])
    with ExitStack() as cleanup:
        cleanup.callback(partial_rows.unlink, missing_ok=True)
        cleanup.callback(partial_offsets.unlink, missing_ok=True)
        position = 0
        with partial_rows.open("wb") as file:
            for row in rows:
                position += file.write(encode(row).encode() + b"\n")
                offsets.append(position)
        partial_offsets.write_bytes(offsets.tobytes())
        partial_rows.replace(directory / _ROWS_FILE)
        partial_offsets.replace(directory / _OFFSETS_FILE)
    return len(offsets) - 1


class Dataset:
    """Rows in a memory-mapped file, already encoded as JSON.

    Attributes:
        row_count: The number of rows.
    """

    def __init__(self, directory: Path) -> None:
        """Opens the data set in a directory.

        Raises:
            DatasetError: The files are missing, cannot be read or do not belong together.
        """
        self._offsets = array(_OFFSET_TYPE)
        try:
            self._offsets.frombytes((directory / _OFFSETS_FILE).read_bytes())
            with (directory / _ROWS_FILE).open("rb") as file:
                self._rows = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:  # ValueError: an empty or a cut file
            raise DatasetError(f"The data set in {directory} cannot be opened: {error}") from error
        if not self._offsets or self._offsets[-1] != len(self._rows):
            self._rows.close()
            raise DatasetError(
                f"The data set in {directory} is damaged: {_ROWS_FILE} and {_OFFSETS_FILE} do not "
                "belong together. Build it again with python -m covertype_source.build."
            )
        self.row_count = len(self._offsets) - 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._rows.close()

    def json_array(self, positions: Iterable[int]) -> bytes:
        """Gives rows as the text of one JSON array.

        Args:
            positions: The positions of the rows, each from 0 to `row_count` - 1.

        Returns:
            An array of arrays of strings, in the order of `positions`, in UTF-8.
        """
        rows, offsets = self._rows, self._offsets
        # Less one byte: the end of the line.
        return b"[%b]" % b",".join([rows[offsets[i] : offsets[i + 1] - 1] for i in positions])
