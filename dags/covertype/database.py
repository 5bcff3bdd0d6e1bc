"""How Postgres is reached: one transaction at a time, with errors that say what to do."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psycopg2
from psycopg2 import sql

from covertype.errors import PipelineError

if TYPE_CHECKING:
    from psycopg2 import extensions

SCHEMA = "public"


@dataclass(frozen=True)
class Database:
    """The database with the pipeline's tables.

    Attributes:
        host: Its address.
        port: Its port.
        name: Its name.
        user: The pipeline's account.
        password: That account's password.
    """

    host: str
    port: int
    name: str
    user: str
    password: str = field(repr=False)

    @contextmanager
    def transaction(self) -> Iterator["extensions.cursor"]:
        """Commit what the block does, or undo all of it if it raises.

        Raises:
            PipelineError: Postgres refuses or does not answer; nothing was changed.
        """
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
        try:
            return psycopg2.connect(
                host=self.host,
                port=self.port,
                dbname=self.name,
                user=self.user,
                password=self.password,
                connect_timeout=10,
                application_name="covertype",
            )
        except psycopg2.OperationalError as error:
            raise PipelineError(
                f"Postgres at {self.host}:{self.port} lets nobody in as {self.user} "
                f"({str(error).strip()}): check that it runs, and the connection "
                "covertype_postgres."
            ) from error


def table_name(table: str) -> sql.Identifier:
    """A table's name with its schema, for use in a statement."""
    return sql.Identifier(SCHEMA, table)
