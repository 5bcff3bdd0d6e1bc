"""Fixtures: a registry, replicas as real servers on the loopback interface, and clients."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import pytest
import uvicorn

from inference_api.app import Application
from inference_api.server import Server
from inference_api.settings import Settings
from tests.fake_mlflow import FakeMlflow
from tests.graphs import files


def wait_until(condition: Callable[[], object], what: str, seconds: float = 10.0) -> None:
    """Wait until ``condition`` is true; fail with ``what`` if it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {what}")
        time.sleep(0.01)


@contextmanager
def running(server: uvicorn.Server, listener: socket.socket) -> Iterator[None]:
    """Have a server serve in a thread, and end it."""
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        wait_until(lambda: server.started, "the server listens")
        yield
    finally:
        server.should_exit = True
        thread.join(timeout=10.0)
        assert not thread.is_alive()


class Replica:
    """One replica, served in a thread as in its process, with a client that keeps no cookies."""

    def __init__(self, settings: Settings, keep_alive_seconds: int | float = 5) -> None:
        self.application = Application(settings)
        self._server = Server(
            uvicorn.Config(
                self.application,
                loop="uvloop",
                http=self.application.protocol,
                lifespan="on",
                log_config=None,
                access_log=False,
                timeout_keep_alive=keep_alive_seconds,  # type: ignore[arg-type] # only a timer's
                timeout_graceful_shutdown=2,
            )
        )
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._running = ExitStack()
        self.client = httpx.Client(
            base_url=self.url,
            timeout=20.0,
            event_hooks={"response": [lambda _: self.client.cookies.clear()]},
        )

    def __enter__(self) -> "Replica":
        self._running.enter_context(running(self._server, self._socket))
        return self

    def __exit__(
        self,
        _: type[BaseException] | None,
        __: BaseException | None,
        ___: TracebackType | None,
    ) -> None:
        self.client.close()
        self._running.close()

    def predict(self, body: Any, **headers: str) -> httpx.Response:
        """Send one prediction; every underscore in a header's name stands for a dash."""
        return self.client.post(
            "/predict",
            json=body,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )

    def version(self) -> str | None:
        """Return the version that answers by default; None while there is none."""
        answer = self.client.get("/health/ready")
        return answer.json()["model"]["version"] if answer.status_code == 200 else None

    def connections(self) -> int:
        """Return how many clients are connected; this client is one if it asked before."""
        return len(self._server.server_state.connections)

    def wait_for_version(self, version: str) -> None:
        """Wait until a version answers by default."""
        wait_until(lambda: self.version() == version, f"version {version} answers")

    def metric(self, line: str) -> float:
        """Return the value of a metric, given with its labels; 0 if it is not there."""
        for found in self.client.get("/metrics").text.splitlines():
            if found.startswith(line + " "):
                return float(found.rpartition(" ")[2])
        return 0.0


MakeSettings = Callable[..., Settings]


@pytest.fixture
def mlflow() -> Iterator[FakeMlflow]:
    """An empty registry."""
    fake = FakeMlflow()
    yield fake
    fake.stop()


@pytest.fixture
def make_settings(mlflow: FakeMlflow, tmp_path: Path) -> MakeSettings:
    """Return what makes the settings of a replica that follows the registry."""

    def make(**changes: Any) -> Settings:
        values: dict[str, Any] = {
            "mlflow_tracking_uri": mlflow.uri,
            "registry_poll_seconds": 0.05,
            "cache_dir": tmp_path / "cache",
            **changes,
        }
        return Settings(**values)

    return make


@pytest.fixture(scope="session")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    """A replica that serves version 1 of modelo1, for all tests that change nothing."""
    fake = FakeMlflow()
    fake.publish(files())
    values: dict[str, Any] = {
        "mlflow_tracking_uri": fake.uri,
        "cache_dir": tmp_path_factory.mktemp("cache"),
    }
    with Replica(Settings(**values)) as started:
        started.wait_for_version("1")
        yield started
    fake.stop()


@pytest.fixture
def replica(mlflow: FakeMlflow, make_settings: MakeSettings) -> Iterator[Replica]:
    """A replica that serves version 1 of modelo1."""
    mlflow.publish(files())
    with Replica(make_settings()) as started:
        started.wait_for_version("1")
        yield started
