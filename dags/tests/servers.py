"""A Postgres of one's own, for tests and benchmarks."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from covertype.database import Database


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _postgres_programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    program = str(found[-1]) if found else shutil.which("initdb")
    assert program, "the store's tests need Postgres: apt-get install postgresql"
    return Path(program).parent


@contextmanager
def running_postgres() -> Iterator[Database]:
    """Start a server on a free port; its account may create in the schema public, no more."""
    programs = _postgres_programs()
    folder = Path(tempfile.mkdtemp(prefix="covertype-postgres-"))
    # Postgres refuses to run as root.
    owner: dict[str, Any] = {"cwd": folder}
    if os.geteuid() == 0:
        owner["user"] = "postgres"
        os.chown(folder, pwd.getpwnam("postgres").pw_uid, -1)
    port = free_port()
    data = folder / "data"
    subprocess.run(
        [programs / "initdb", "-D", data, "-A", "trust", "-U", "postgres", "--no-sync"],
        check=True,
        capture_output=True,
        **owner,
    )
    settings = f"-F -p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    control: list[Path | str] = [programs / "pg_ctl", "-D", data, "-w", "-l", folder / "log"]
    subprocess.run([*control, "-o", settings, "start"], check=True, capture_output=True, **owner)
    try:
        for statement in (
            "CREATE ROLE covertype LOGIN",
            "CREATE DATABASE airflow",
            "GRANT CREATE, USAGE ON SCHEMA public TO covertype",
        ):
            database = "airflow" if statement.startswith("GRANT") else "postgres"
            subprocess.run(
                [
                    *(str(programs / "psql"), "-qX", "-h", "127.0.0.1", "-p", str(port)),
                    *("-U", "postgres", "-d", database, "-c", statement),
                ],
                check=True,
                capture_output=True,
                **owner,
            )
        yield Database("127.0.0.1", port, "airflow", "covertype", "unused")
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], capture_output=True, **owner)
        shutil.rmtree(folder, ignore_errors=True)
