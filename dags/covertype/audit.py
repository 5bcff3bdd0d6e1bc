"""The table ``public.model_promotions``: every decision about production, in order, for ever."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from psycopg2 import sql
from psycopg2.extras import Json

from covertype.database import Database, table_name
from covertype.errors import PipelineError

if TYPE_CHECKING:
    from psycopg2 import extensions

TABLE = "model_promotions"

Action = Literal["promote", "rollback"]

_LOCK = 20250330
"""Key of the advisory lock that decisions take, so that they come one after the other."""


@dataclass(frozen=True)
class Entry:
    """One decision.

    Attributes:
        version: The version it is about.
        action: What was asked for.
        accepted: Whether the version took production.
        previous: The version in production before; None if there was none.
        reason: Why, in sentences.
        decided_by: A run of a DAG, or an operator.
        figures: What the decision rests on.
        decided_at: When; None before it is stored.
    """

    version: int
    action: Action
    accepted: bool
    previous: int | None
    reason: str
    decided_by: str
    figures: Mapping[str, float]
    decided_at: datetime | None = None


class Audit:
    """The decisions about one model."""

    def __init__(self, database: Database, model_name: str) -> None:
        self._database = database
        self._model_name = model_name

    @contextmanager
    def deciding(self) -> Iterator["Decisions"]:
        """Keep all others from deciding while the block runs.

        What the block records is stored only if it ends without an error, so an entry and the
        change that it tells of come together.

        Raises:
            PipelineError: Postgres refuses or does not answer.
        """
        with self._database.transaction() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            _create_table(cursor)
            yield Decisions(cursor, self._model_name)

    def entries(self) -> list[Entry]:
        """All decisions, the oldest first."""
        with self.deciding() as decisions:
            return decisions.entries()


class Decisions:
    """The table inside of a transaction."""

    def __init__(self, cursor: "extensions.cursor", model_name: str) -> None:
        self._cursor = cursor
        self._model_name = model_name

    def record(self, entry: Entry) -> None:
        """Append a decision."""
        self._cursor.execute(
            sql.SQL(
                "INSERT INTO {} (model_name, version, action, accepted, previous_version, reason, "
                "decided_by, figures) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"
            ).format(table_name(TABLE)),
            (
                *(self._model_name, entry.version, entry.action, entry.accepted, entry.previous),
                *(entry.reason, entry.decided_by, Json(dict(entry.figures))),
            ),
        )

    def entries(self) -> list[Entry]:
        """All decisions, the oldest first."""
        self._cursor.execute(
            sql.SQL(
                "SELECT version, action, accepted, previous_version, reason, decided_by, figures, "
                "decided_at FROM {} WHERE model_name = %s ORDER BY decision_id"
            ).format(table_name(TABLE)),
            (self._model_name,),
        )
        return [Entry(*values) for values in self._cursor.fetchall()]


def previous_version(entries: list[Entry], current: int) -> int:
    """The version that was in production before the current one.

    A rollback undoes the last promotion that is not undone yet, so rolling back twice goes two
    versions back, not to and fro.

    Args:
        entries: All decisions, the oldest first.
        current: The version in production.

    Raises:
        PipelineError: There was none, or the table does not know how the current version got
            there.
    """
    history: list[int] = []
    for entry in entries:
        if not entry.accepted:
            continue
        if entry.action == "rollback":
            history.pop()
        else:
            if entry.previous is not None and history[-1:] != [entry.previous]:
                # Production was changed past the table, which it did see at the next decision.
                history.append(entry.previous)
            history.append(entry.version)
    if history[-1:] != [current]:
        raise PipelineError(
            f"Version {current} is in production, but the table {TABLE} does not say how it got "
            "there: somebody moved the alias by hand. Promote the version that you want: "
            "make promote VERSION=n."
        )
    if len(history) < 2:
        raise PipelineError(f"No version was in production before version {current}.")
    return history[-2]


def _create_table(cursor: "extensions.cursor") -> None:
    names = {
        "table": table_name(TABLE),
        "guard": table_name(f"{TABLE}_is_append_only"),
        "trigger": sql.Identifier(f"{TABLE}_is_append_only"),
    }
    cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (table_name(TABLE).as_string(cursor),))
    if cursor.fetchone() == (True,):
        return
    cursor.execute(
        sql.SQL(
            "CREATE TABLE {table} ("
            "decision_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
            "decided_at timestamptz NOT NULL DEFAULT clock_timestamp(), "
            "model_name text NOT NULL, version integer NOT NULL, "
            "action text NOT NULL CHECK (action IN ('promote', 'rollback')), "
            "accepted boolean NOT NULL, previous_version integer, reason text NOT NULL, "
            "decided_by text NOT NULL, figures jsonb NOT NULL)"
        ).format(**names)
    )
    cursor.execute(
        sql.SQL(
            "CREATE OR REPLACE FUNCTION {guard}() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'entries are never changed or removed'; END $$"
        ).format(**names)
    )
    cursor.execute(
        sql.SQL(
            "CREATE TRIGGER {trigger} BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION {guard}()"
        ).format(**names)
    )
