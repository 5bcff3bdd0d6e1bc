"""The table ``public.covertype`` in Postgres.

Batches are first staged in a second table; only a complete load replaces what the first one
holds, in one transaction. Readers therefore see the load before or the load after, never a mix,
and a load that fails leaves the table as it was.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pandas as pd
import psycopg2
from psycopg2 import sql

from covertype.errors import PipelineError
from covertype.schema import BATCHES, CLASSES, COLUMNS, TARGET, Column, Row

if TYPE_CHECKING:
    from psycopg2 import extensions

SCHEMA = "public"
TABLE = "covertype"
STAGING = "covertype_staging"
BATCH_COLUMN = "batch_number"
LOADED_COLUMN = "loaded_at"

MAX_AGE = timedelta(hours=24)
"""Rows older than this are yesterday's: the daily load has not run yet."""


@dataclass(frozen=True)
class Database:
    """How Postgres is reached."""

    host: str
    port: int
    name: str
    user: str
    password: str = field(repr=False)


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


class CovertypeStore:
    """Reads and writes the table; every public method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self) -> None:
        """Create the tables where they are missing."""
        with self._transaction() as cursor:
            for table in (TABLE, STAGING):
                cursor.execute(_create_statement(table))

    def clear(self) -> int:
        """Empty the tables, creating them where they are missing.

        Returns:
            The number of rows that the table had.
        """
        with self._transaction() as cursor:
            for table in (TABLE, STAGING):
                cursor.execute(_create_statement(table))
            cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(_name(TABLE)))
            rows = _one_int(cursor)
            cursor.execute(sql.SQL("TRUNCATE {}, {}").format(_name(TABLE), _name(STAGING)))
        return rows

    def stage(self, batch: int, rows: Sequence[Row]) -> None:
        """Put one batch's rows in the place of those that were staged for it.

        Args:
            batch: The batch's number.
            rows: Checked rows in the order of ``COLUMNS``.

        Raises:
            PipelineError: Postgres refuses the rows or does not answer; nothing was changed.
        """
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows((*row, batch) for row in rows)
        text.seek(0)
        columns = [column.sql_name for column in COLUMNS] + [BATCH_COLUMN]
        with self._transaction() as cursor:
            _lock_staging(cursor)
            cursor.execute(
                sql.SQL("DELETE FROM {} WHERE {} = %s").format(
                    _name(STAGING), sql.Identifier(BATCH_COLUMN)
                ),
                (batch,),
            )
            copy = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(
                _name(STAGING), sql.SQL(", ").join(map(sql.Identifier, columns))
            )
            cursor.copy_expert(copy, text)

    def publish(self) -> dict[int, int]:
        """Put the staged batches in the place of the table's rows.

        Returns:
            Batch number to number of rows, of all batches.

        Raises:
            PipelineError: A batch is missing; nothing was changed.
        """
        with self._transaction() as cursor:
            _lock_staging(cursor)
            counts = {batch: state.rows for batch, state in _status(cursor, STAGING).items()}
            missing = [str(batch) for batch in BATCHES if batch not in counts]
            if missing:
                raise PipelineError(
                    f"Batches {', '.join(missing)} were not loaded: the data API had moved past "
                    f"them. The table {TABLE} is as before. Run the DAG Borrar_datos, which starts "
                    "the group again, then Cargar_datos."
                )
            cursor.execute(sql.SQL("TRUNCATE {}").format(_name(TABLE)))
            cursor.execute(
                sql.SQL("INSERT INTO {} SELECT * FROM {} ORDER BY {}").format(
                    _name(TABLE), _name(STAGING), sql.Identifier(BATCH_COLUMN)
                )
            )
            cursor.execute(sql.SQL("TRUNCATE {}").format(_name(STAGING)))
            cursor.execute(sql.SQL("ANALYZE {}").format(_name(TABLE)))
        return counts

    def status(self) -> dict[int, BatchStatus]:
        """What the table holds, by batch number.

        Raises:
            PipelineError: The table does not exist.
        """
        with self._transaction() as cursor:
            _require_table(cursor)
            return _status(cursor, TABLE)

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
        with self._transaction() as cursor:
            _require_table(cursor)
            cursor.copy_expert(
                sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT (FORMAT csv)").format(
                    sql.SQL(", ").join(map(sql.Identifier, names)), _name(TABLE)
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

    @contextmanager
    def _transaction(self) -> Iterator["extensions.cursor"]:
        with closing(self._connect()) as connection:
            try:
                # psycopg2: leaving the connection's block commits, or rolls back on an error.
                with connection, connection.cursor() as cursor:
                    yield cursor
            except psycopg2.Error as error:
                raise PipelineError(
                    f"Postgres refused: {str(error).strip()}. Nothing was changed."
                ) from error

    def _connect(self) -> "extensions.connection":
        database = self._database
        try:
            return psycopg2.connect(
                host=database.host,
                port=database.port,
                dbname=database.name,
                user=database.user,
                password=database.password,
                connect_timeout=10,
                application_name="covertype",
            )
        except psycopg2.OperationalError as error:
            raise PipelineError(
                f"Postgres at {database.host}:{database.port} lets nobody in as {database.user} "
                f"({str(error).strip()}): check that it runs, and the connection "
                "covertype_postgres."
            ) from error


def _name(table: str) -> sql.Identifier:
    return sql.Identifier(SCHEMA, table)


def _create_statement(table: str) -> sql.Composed:
    """The definition of the table, from the schema; both tables are alike."""
    columns = [
        sql.SQL("{} {} NOT NULL{}").format(
            sql.Identifier(column.sql_name), sql.SQL(column.sql_type), _check(column)
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
        _name(table), sql.SQL(", ").join(columns)
    )


def _check(column: Column) -> sql.Composable:
    if column is TARGET:
        permitted: tuple[int | str, ...] = tuple(range(len(CLASSES)))
    elif column.kind == "category":
        permitted = column.categories
    else:
        return sql.SQL("")
    return sql.SQL(" CHECK ({} IN ({}))").format(
        sql.Identifier(column.sql_name), sql.SQL(", ").join(map(sql.Literal, permitted))
    )


def _lock_staging(cursor: "extensions.cursor") -> None:
    # Two loads at the same time would each delete nothing and copy the same batch.
    cursor.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(_name(STAGING)))


def _require_table(cursor: "extensions.cursor") -> None:
    cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (f"{SCHEMA}.{TABLE}",))
    if cursor.fetchone() != (True,):
        raise PipelineError(
            f"The table {SCHEMA}.{TABLE} does not exist: run the DAG Cargar_datos first."
        )


def _status(cursor: "extensions.cursor", table: str) -> dict[int, BatchStatus]:
    batch, loaded = sql.Identifier(BATCH_COLUMN), sql.Identifier(LOADED_COLUMN)
    cursor.execute(
        sql.SQL("SELECT {0}, count(*), max({1}), now() - max({1}) FROM {2} GROUP BY {0}").format(
            batch, loaded, _name(table)
        )
    )
    return {number: BatchStatus(*values) for number, *values in cursor.fetchall()}


def _one_int(cursor: "extensions.cursor") -> int:
    row = cursor.fetchone()
    return int(row[0]) if row else 0


def _pandas_type(column: Column) -> str:
    return "str" if column.kind == "category" else "int64"
