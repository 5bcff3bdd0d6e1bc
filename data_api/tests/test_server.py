"""The service as the image runs it: two worker processes, a real clock, kills."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2
import pytest

from covertype_source import app
from covertype_source.batches import BATCH_COUNT, batch_rows
from tests.fakes import ROW_COUNT

PROJECT = Path(app.__file__).parents[1]
START_SECONDS = 30


@contextmanager
def served(data_dir: Path, state_dir: Path, batch_seconds: float) -> Iterator[str]:
    """Runs the server with two workers, gives its address, and kills it without a warning."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "gunicorn", "covertype_source.asgi:app"),
                *("--worker-class", "uvicorn_worker.UvicornWorker", "--workers", "2"),
                *("--no-control-socket", "--bind", f"fd://{listener.fileno()}"),
            ],
            cwd=PROJECT,
            env={
                **os.environ,
                "DATA_DIR": str(data_dir),
                "STATE_DIR": str(state_dir),
                "BATCH_SECONDS": str(batch_seconds),
            },
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )
    try:
        wait_until_ready(address, process)
        yield address
    finally:
        with suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until_ready(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server has ended; its log is above"
        try:
            if httpx2.get(f"{address}/health/ready", timeout=START_SECONDS).status_code == 200:
                return
        except httpx2.TransportError:
            time.sleep(0.1)
    pytest.fail(f"not ready after {START_SECONDS} s")


def test_concurrent_clients_see_the_batches_in_order(data_dir: Path, tmp_path: Path) -> None:
    def batches_of_one_client(address: str) -> list[int]:
        """Calls until the group is exhausted; checks that rows are of their batch."""
        numbers: list[int] = []
        with httpx2.Client(base_url=address, timeout=30) as client:
            while True:
                response = client.get("/data", params={"group_number": 1})
                if response.status_code == 400:
                    return numbers
                batch = response.json()
                rows = batch_rows(ROW_COUNT, batch["batch_number"])
                assert {int(row[0]) for row in batch["data"]} <= set(rows)
                numbers.append(batch["batch_number"])

    clients = 6
    with (
        served(data_dir, tmp_path, batch_seconds=0.25) as address,
        ThreadPoolExecutor(clients) as threads,
    ):
        results = list(threads.map(batches_of_one_client, [address] * clients))

    for numbers in results:
        assert numbers == sorted(numbers)
    assert {number for numbers in results for number in numbers} == set(range(1, BATCH_COUNT + 1))


def test_progress_survives_a_kill(data_dir: Path, tmp_path: Path) -> None:
    def batch_number(address: str) -> int:
        body = httpx2.get(f"{address}/data", params={"group_number": 5}, timeout=30).json()
        number: int = body["batch_number"]
        return number

    with served(data_dir, tmp_path, batch_seconds=0.01) as address:
        for expected in (1, 2, 3):
            assert batch_number(address) == expected
            time.sleep(0.02)

    with served(data_dir, tmp_path, batch_seconds=0.01) as address:
        assert batch_number(address) == 4


def test_ends_with_a_sentence_when_the_data_is_missing(tmp_path: Path) -> None:
    run = subprocess.run(
        [
            *(sys.executable, "-m", "gunicorn", "covertype_source.asgi:app"),
            *("--worker-class", "uvicorn_worker.UvicornWorker", "--no-control-socket"),
            *("--bind", "127.0.0.1:0"),
        ],
        cwd=PROJECT,
        env={**os.environ, "DATA_DIR": str(tmp_path / "none"), "STATE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )

    assert run.returncode != 0
    assert "cannot be opened" in run.stderr
