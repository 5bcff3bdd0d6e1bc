"""The tables that hold the data in Postgres, all in the schema ``public``.

``covertype`` is what models are trained on. Batches are first staged beside it; only a complete
load replaces what it holds, in one transaction. Readers therefore see the load before or the load
after, never a mix, and a load that fails leaves the table as it was.

``covertype_rejected`` keeps each row that was not loaded, with its reason. ``covertype_loads`` is
the history: which batch was loaded when, with how many rows, and when it was cleared.
"""

import hashlib
import io
import json
import logging
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from psycopg2 import sql
from psycopg2.extras import Json, execute_values

from covertype.database import SCHEMA, Database, table_name
from covertype.errors import PipelineError
from covertype.hashing import Hashes
from covertype.schema import BATCHES, COLUMNS, Column
from covertype.validation import MAX_REJECTED_SHARE, CheckedRows, Rejection

if TYPE_CHECKING:
    from psycopg2 import extensions

_log = logging.getLogger(__name__)

TABLE = "covertype"
STAGING = "covertype_staging"
STAGED_BATCHES = "covertype_staged_batches"
REJECTED = "covertype_rejected"
LOADS = "covertype_loads"
BATCH_COLUMN = "batch_number"
LOADED_COLUMN = "loaded_at"

MAX_AGE = timedelta(hours=24)
"""Rows older than this are yesterday's: the daily load has not run yet."""

_UNFIT_FOR_JSONB = re.compile(r"\\u(?:0000|d[89a-f])|NaN|Infinity")


@dataclass(frozen=True)
class BatchStatus:
    """What the table holds of one batch.

    Attributes:
        rows: How many rows.
        loaded_at: When the newest of them was loaded.
        age: How long ago that is by the database's clock.
    """

    rows: int
    loaded_at: datetime
    age: timedelta


@dataclass(frozen=True)
class LoadedBatch:
    """What a load brought of one batch.

    Attributes:
        rows: How many rows were loaded.
        rejected: How many were not.
        fingerprint: sha256 over the sorted hashes of the loaded rows, in hex.
    """

    rows: int
    rejected: int
    fingerprint: str


class CovertypeStore:
    """Reads and writes the tables; every public method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self) -> None:
        """Create the tables where they are missing."""
        with self._database.transaction() as cursor:
            _create_tables(cursor)

    def clear(self) -> int:
        """Empty the table, creating it where it is missing; the history says when.

        Returns:
            The number of rows that the table had.
        """
        with self._database.transaction() as cursor:
            _create_tables(cursor)
            cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(table_name(TABLE)))
            rows = _one_int(cursor)
            _truncate(cursor, TABLE, STAGING, STAGED_BATCHES)
            _end_loads(cursor)
        return rows

    def stage(self, batch: int, checked: CheckedRows) -> LoadedBatch:
        """Put one batch's rows in the place of those that were staged for it.

        Rows that another staged batch holds are rejected too. The first batch begins a load: what
        an earlier load has left unfinished is forgotten.

        Args:
            batch: The batch's number.
            checked: Its rows.

        Raises:
            PipelineError: Too many rows are bad (they can be looked at in the table of rejected
                rows), or Postgres refuses; nothing was staged.
        """
        with self._database.transaction() as cursor:
            _lock_staging(cursor)
            if batch == BATCHES[0]:
                _truncate(cursor, STAGING, STAGED_BATCHES)
            checked = checked.without(_staged_hashes(cursor, batch))
            _replace_rejected(cursor, batch, checked.rejected)
            fits = checked.rejected_share <= MAX_REJECTED_SHARE
            if fits:
                _delete_batch(cursor, STAGING, batch)
                began = time.perf_counter()
                copy_rows(cursor, batch, checked.rows)
                seconds = time.perf_counter() - began
                _log.info("COPY took %.2f s: %.0f rows/s", seconds, len(checked.rows) / seconds)
                _delete_batch(cursor, STAGED_BATCHES, batch)
                staged = _note_staged(cursor, batch, checked)
        if not fits:
            raise PipelineError(
                f"{len(checked.rejected)} rows of batch {batch} are bad "
                f"({checked.rejected_share:.1%}, more than {MAX_REJECTED_SHARE:.0%}), so none of "
                f"it is loaded. The first: {checked.rejected[0].reason} All of them are in the "
                f"table {SCHEMA}.{REJECTED}: ask the owner of the data API."
            )
        return staged

    def publish(self) -> dict[int, LoadedBatch]:
        """Put the staged batches in the place of the table's rows, and note it in the history.

        Returns:
            Batch number to what was loaded of it, for all batches.

        Raises:
            PipelineError: A batch is missing; nothing was changed.
        """
        with self._database.transaction() as cursor:
            _lock_staging(cursor)
            staged = _staged_batches(cursor)
            missing = [str(batch) for batch in BATCHES if batch not in staged]
            if missing:
                raise PipelineError(
                    f"Batches {', '.join(missing)} were not loaded: the data API had moved past "
                    f"them. The table {TABLE} is as before. Run the DAG Borrar_datos, which starts "
                    "the group again, then Cargar_datos."
                )
            _truncate(cursor, TABLE)
            cursor.execute(
                sql.SQL("INSERT INTO {} SELECT * FROM {} ORDER BY {}").format(
                    table_name(TABLE), table_name(STAGING), sql.Identifier(BATCH_COLUMN)
                )
            )
            _end_loads(cursor)
            _note_load(cursor, staged)
            _truncate(cursor, STAGING, STAGED_BATCHES)
            cursor.execute(sql.SQL("ANALYZE {}").format(table_name(TABLE)))
        return staged

    def status(self) -> dict[int, BatchStatus]:
        """What the table holds, by batch number.

        Raises:
            PipelineError: The table does not exist.
        """
        batch, loaded = sql.Identifier(BATCH_COLUMN), sql.Identifier(LOADED_COLUMN)
        with self._database.transaction() as cursor:
            _require_table(cursor)
            cursor.execute(
                sql.SQL(
                    "SELECT {0}, count(*), max({1}), now() - max({1}) FROM {2} GROUP BY {0}"
                ).format(batch, loaded, table_name(TABLE))
            )
            return {number: BatchStatus(*values) for number, *values in cursor.fetchall()}

    def require_current(self) -> dict[int, BatchStatus]:
        """Check that a complete and current load is there to be trained on.

        Raises:
            PipelineError: The table is missing or empty, lacks a batch, or is too old.
        """
        status = self.status()
        missing = [str(batch) for batch in BATCHES if batch not in status]
        if missing:
            raise PipelineError(
                f"The table {TABLE} has no rows of the batches {', '.join(missing)}: run the DAG "
                "Cargar_datos, or wait until it has finished, and run this DAG again."
            )
        newest = max(status.values(), key=lambda batch: batch.loaded_at)
        if newest.age > MAX_AGE:
            raise PipelineError(
                f"The rows in {TABLE} are of {newest.loaded_at:%Y-%m-%d %H:%M %Z}, older than "
                f"{MAX_AGE.total_seconds() / 3600:.0f} hours: run the DAGs Borrar_datos and "
                "Cargar_datos, then this DAG again."
            )
        return status

    def read(self) -> pd.DataFrame:
        """All rows: the columns of ``COLUMNS`` by name, and the batch's number.

        Raises:
            PipelineError: The table does not exist or has no rows.
        """
        names = [column.sql_name for column in COLUMNS] + [BATCH_COLUMN]
        text = io.BytesIO()
        with self._database.transaction() as cursor:
            _require_table(cursor)
            cursor.copy_expert(
                sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT (FORMAT csv)").format(
                    sql.SQL(", ").join(map(sql.Identifier, names)), table_name(TABLE)
                ),
                text,
            )
        if not text.tell():
            raise PipelineError(f"The table {TABLE} has no rows: run the DAG Cargar_datos first.")
        text.seek(0)
        return pd.read_csv(
            text,
            header=None,
            names=[column.name for column in COLUMNS] + [BATCH_COLUMN],
            dtype={column.name: _pandas_type(column) for column in COLUMNS},
        )


def _create_tables(cursor: "extensions.cursor") -> None:
    for table in (TABLE, STAGING):
        cursor.execute(_data_table(table))
    batch_column = sql.SQL("{} smallint NOT NULL").format(sql.Identifier(BATCH_COLUMN))
    for table, columns in (
        # Until a load is complete: how many rows of a batch, and their hashes as 64-bit numbers.
        (
            STAGED_BATCHES,
            "{batch} PRIMARY KEY, rows integer NOT NULL, rejected_rows integer NOT NULL, "
            "hashes bytea NOT NULL",
        ),
        (
            LOADS,
            "load_id bigint NOT NULL, {batch}, rows integer NOT NULL, rejected_rows integer NOT "
            "NULL, fingerprint text NOT NULL, loaded_at timestamptz NOT NULL DEFAULT now(), "
            "cleared_at timestamptz, PRIMARY KEY (load_id, batch_number)",
        ),
        # The load's number is set when the load is complete.
        (
            REJECTED,
            "load_id bigint, {batch}, raw_row jsonb NOT NULL, column_name text, reason text NOT "
            "NULL, rejected_at timestamptz NOT NULL DEFAULT now()",
        ),
    ):
        cursor.execute(
            sql.SQL("CREATE TABLE IF NOT EXISTS {} ({})").format(
                table_name(table), sql.SQL(columns).format(batch=batch_column)
            )
        )


def _data_table(table: str) -> sql.Composed:
    """The definition of a table of rows, from the schema; staging is alike."""
    columns = [
        sql.SQL("{} {} NOT NULL CHECK ({})").format(
            sql.Identifier(column.sql_name), sql.SQL(column.sql_type), _condition(column)
        )
        for column in COLUMNS
    ]
    columns.append(
        sql.SQL("{} smallint NOT NULL CHECK ({} BETWEEN {} AND {})").format(
            sql.Identifier(BATCH_COLUMN),
            sql.Identifier(BATCH_COLUMN),
            sql.Literal(BATCHES[0]),
            sql.Literal(BATCHES[-1]),
        )
    )
    columns.append(
        sql.SQL("{} timestamptz NOT NULL DEFAULT now()").format(sql.Identifier(LOADED_COLUMN))
    )
    return sql.SQL("CREATE TABLE IF NOT EXISTS {} ({})").format(
        table_name(table), sql.SQL(", ").join(columns)
    )


def _condition(column: Column) -> sql.Composed:
    """What a column's values must fulfil; validation says the same, and says which row does not."""
    name = sql.Identifier(column.sql_name)
    if column.kind == "category":
        permitted = sql.SQL(", ").join(map(sql.Literal, column.categories))
        return sql.SQL("{} IN ({})").format(name, permitted)
    return sql.SQL("{} BETWEEN {} AND {}").format(
        name, sql.Literal(column.minimum), sql.Literal(column.maximum)
    )


def copy_rows(cursor: "extensions.cursor", batch: int, rows: Sequence[Sequence[str]]) -> None:
    """COPY checked rows of a batch into the staging table.

    Args:
        cursor: In a transaction.
        batch: The batch's number.
        rows: Its rows, as ``CheckedRows`` has them.
    """
    # Checked values hold no character that CSV would have to quote.
    lines = "".join([f"{','.join(row)},{batch}\n" for row in rows])
    columns = [column.sql_name for column in COLUMNS] + [BATCH_COLUMN]
    copy = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(
        table_name(STAGING), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    cursor.copy_expert(copy, io.BytesIO(lines.encode()))


def _note_staged(cursor: "extensions.cursor", batch: int, checked: CheckedRows) -> LoadedBatch:
    cursor.execute(
        sql.SQL("INSERT INTO {} VALUES (%s, %s, %s, %s)").format(table_name(STAGED_BATCHES)),
        (batch, len(checked.rows), len(checked.rejected), checked.hashes.astype("<u8").tobytes()),
    )
    return LoadedBatch(len(checked.rows), len(checked.rejected), _batch_fingerprint(checked.hashes))


def _staged_hashes(cursor: "extensions.cursor", other_than: int) -> Hashes:
    """The hashes of the rows staged for the other batches, uint64 [rows]."""
    cursor.execute(
        sql.SQL("SELECT hashes FROM {} WHERE {} <> %s").format(
            table_name(STAGED_BATCHES), sql.Identifier(BATCH_COLUMN)
        ),
        (other_than,),
    )
    return np.concatenate(
        [np.zeros(0, np.uint64), *(np.frombuffer(found, "<u8") for (found,) in cursor)]
    )


def _staged_batches(cursor: "extensions.cursor") -> dict[int, LoadedBatch]:
    cursor.execute(
        sql.SQL("SELECT {0}, rows, rejected_rows, hashes FROM {1} ORDER BY {0}").format(
            sql.Identifier(BATCH_COLUMN), table_name(STAGED_BATCHES)
        )
    )
    return {
        batch: LoadedBatch(rows, rejected, _batch_fingerprint(np.frombuffer(hashes, "<u8")))
        for batch, rows, rejected, hashes in cursor
    }


def _batch_fingerprint(hashes: Hashes) -> str:
    return hashlib.sha256(np.sort(hashes).astype("<u8").tobytes()).hexdigest()


def _replace_rejected(
    cursor: "extensions.cursor", batch: int, rejected: Sequence[Rejection]
) -> None:
    """Keep the bad rows of a batch, in the place of those of an earlier try of the same load."""
    cursor.execute(
        sql.SQL("DELETE FROM {} WHERE {} = %s AND load_id IS NULL").format(
            table_name(REJECTED), sql.Identifier(BATCH_COLUMN)
        ),
        (batch,),
    )
    execute_values(
        cursor,
        sql.SQL("INSERT INTO {} ({}, raw_row, column_name, reason) VALUES %s")
        .format(table_name(REJECTED), sql.Identifier(BATCH_COLUMN))
        .as_string(cursor),
        [(batch, _as_json(bad.row), bad.column, bad.reason) for bad in rejected],
    )


def _as_json(row: Any) -> Json:
    """A row as jsonb takes it, which knows neither NUL nor NaN nor half a surrogate pair."""
    text = json.dumps(row)
    if _UNFIT_FOR_JSONB.search(text):
        row = ascii(row)
    return Json(row)


def _note_load(cursor: "extensions.cursor", loaded: dict[int, LoadedBatch]) -> None:
    cursor.execute(
        sql.SQL("SELECT coalesce(max(load_id), 0) + 1 FROM {}").format(table_name(LOADS))
    )
    load = _one_int(cursor)
    execute_values(
        cursor,
        sql.SQL("INSERT INTO {} (load_id, {}, rows, rejected_rows, fingerprint) VALUES %s")
        .format(table_name(LOADS), sql.Identifier(BATCH_COLUMN))
        .as_string(cursor),
        [
            (load, batch, part.rows, part.rejected, part.fingerprint)
            for batch, part in loaded.items()
        ],
    )
    cursor.execute(
        sql.SQL("UPDATE {} SET load_id = %s WHERE load_id IS NULL").format(table_name(REJECTED)),
        (load,),
    )


def _end_loads(cursor: "extensions.cursor") -> None:
    """Note in the history that the table no longer holds what it held."""
    cursor.execute(
        sql.SQL("UPDATE {} SET cleared_at = now() WHERE cleared_at IS NULL").format(
            table_name(LOADS)
        )
    )


def _delete_batch(cursor: "extensions.cursor", table: str, batch: int) -> None:
    cursor.execute(
        sql.SQL("DELETE FROM {} WHERE {} = %s").format(
            table_name(table), sql.Identifier(BATCH_COLUMN)
        ),
        (batch,),
    )


def _truncate(cursor: "extensions.cursor", *tables: str) -> None:
    cursor.execute(
        sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(table_name(table) for table in tables))
    )


def _lock_staging(cursor: "extensions.cursor") -> None:
    # Two loads at the same time would each delete nothing and copy the same batch.
    cursor.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(table_name(STAGING)))


def _require_table(cursor: "extensions.cursor") -> None:
    cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (f"{SCHEMA}.{TABLE}",))
    if cursor.fetchone() != (True,):
        raise PipelineError(
            f"The table {SCHEMA}.{TABLE} does not exist: run the DAG Cargar_datos first."
        )


def _one_int(cursor: "extensions.cursor") -> int:
    row = cursor.fetchone()
    return int(row[0]) if row else 0


def _pandas_type(column: Column) -> str:
    return "category" if column.kind == "category" else "int32"
