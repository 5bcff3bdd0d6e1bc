"""Which batch each group is at.

The state is one small SQLite file, so that it is the same for all worker processes and is still
there after a restart. Every step is one immediate transaction: calls that come at the same moment
are put in an order, and the group moves on once for all of them.
"""

import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from covertype_source.batches import BATCH_COUNT

_FILE = "progress.sqlite3"
_LOCK_TIMEOUT_SECONDS = 5.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS group_progress (
    group_number INTEGER PRIMARY KEY,
    batch_number INTEGER NOT NULL,
    batch_began_at REAL NOT NULL  -- Unix time in seconds
) STRICT;
CREATE TABLE IF NOT EXISTS write_probe (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    count INTEGER NOT NULL
) STRICT;
"""


class GroupExhaustedError(Exception):
    """The group has had all its batches."""


class StateUnavailableError(Exception):
    """The state cannot be read or written."""


@dataclass(frozen=True)
class CurrentBatch:
    """Where a group is.

    Attributes:
        number: From 1 to `BATCH_COUNT`.
        seconds_left: How long this batch still lasts; a call after that moves on.
    """

    number: int
    seconds_left: float


class GroupProgress:
    """The progress of all groups, safe to use from many threads and processes.

    Time is the wall clock, as the only one that goes on over a restart of the machine.
    """

    def __init__(self, state_dir: Path, batch_seconds: float, clock: Callable[[], float]) -> None:
        """Opens the state, and makes it on first use.

        Must be called in the process that uses it: a SQLite connection does not survive a fork.

        Args:
            state_dir: Where the state file is; it is made when it is missing.
            batch_seconds: How long a batch lasts.
            clock: Gives the Unix time in seconds.

        Raises:
            StateUnavailableError: The directory or the file cannot be used.
        """
        self._path = state_dir / _FILE
        self._batch_seconds = batch_seconds
        self._clock = clock
        self._lock = threading.Lock()
        with self._translated_errors():
            state_dir.mkdir(parents=True, exist_ok=True)
            with _exclusive(state_dir):
                self._connection = self._connect()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path,
            timeout=_LOCK_TIMEOUT_SECONDS,
            isolation_level=None,  # transactions begin and end where this module says so
            check_same_thread=False,  # self._lock sees to it
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(_SCHEMA)
        except BaseException:
            connection.close()
            raise
        return connection

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._connection.close()

    def current_batch(self, group_number: int) -> CurrentBatch:
        """Gives the batch that a call made now gets.

        A group begins batch 1 with its first call. A call `batch_seconds` or more after a batch
        began begins the next one, and never leaves one out, however late it comes.

        Args:
            group_number: The group that calls.

        Raises:
            GroupExhaustedError: The last batch was begun, and is over.
            StateUnavailableError: The state cannot be read or written.
        """
        with self._transaction() as connection:
            row = connection.execute(
                "SELECT batch_number, batch_began_at FROM group_progress WHERE group_number = ?",
                (group_number,),
            ).fetchone()
            # Read under the lock: a call that had to wait for another one is later than it.
            now = self._clock()
            number, began_at = row or (1, now)
            if row is not None and now - began_at >= self._batch_seconds:
                if number == BATCH_COUNT:
                    raise GroupExhaustedError
                number, began_at = number + 1, now
            elif now < began_at:
                # The clock was set back. Without this the group would wait until it has caught up.
                began_at = now
            if row != (number, began_at):
                connection.execute(
                    "INSERT INTO group_progress VALUES (?, ?, ?) ON CONFLICT (group_number)"
                    " DO UPDATE SET batch_number = excluded.batch_number,"
                    " batch_began_at = excluded.batch_began_at",
                    (group_number, number, began_at),
                )
        return CurrentBatch(number, self._batch_seconds - (now - began_at))

    def restart(self, group_number: int) -> None:
        """Forgets a group, so that its next call begins batch 1.

        Raises:
            StateUnavailableError: The state cannot be written.
        """
        with self._transaction() as connection:
            connection.execute("DELETE FROM group_progress WHERE group_number = ?", (group_number,))

    def check_writable(self) -> None:
        """Writes to the state, as the only way to know that it can be written.

        Raises:
            StateUnavailableError: It cannot.
        """
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO write_probe VALUES (1, 1)"
                " ON CONFLICT (id) DO UPDATE SET count = count + 1"
            )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Holds the write lock of the state; an exception undoes what was done under it."""
        with self._translated_errors(), self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            finally:
                # After the commit there is nothing to undo. A failed commit can leave it open.
                self._connection.rollback()

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StateUnavailableError(
                f"The state in {self._path} cannot be used: {error}."
                " Check that its directory is writable and has space left."
            ) from error


@contextmanager
def _exclusive(directory: Path) -> Iterator[None]:
    """Lets one process at a time in.

    Needed because changing the journal mode does not wait for a lock
    (https://sqlite.org/wal.html#sometimes_queries_return_sqlite_busy_in_wal_mode), and the worker
    processes start at the same moment.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
