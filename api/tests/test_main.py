"""The process as a container runs it."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx

from tests.conftest import wait_until
from tests.fake_mlflow import FakeMlflow
from tests.graphs import EXAMPLE, files


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def start(**environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "inference_api"],
        env={"PATH": os.environ["PATH"], **environment},
        cwd=Path(__file__).parent.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def test_it_serves_and_ends_with_the_requests_in_flight(mlflow: FakeMlflow, tmp_path: Path) -> None:
    mlflow.publish(files())
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    socket_path = tmp_path / "replica.sock"
    process = start(
        MLFLOW_TRACKING_URI=mlflow.uri,
        CACHE_DIR=str(tmp_path / "cache"),
        HOST="127.0.0.1",
        PORT=str(port),
        SOCKET_PATH=str(socket_path),
        REGISTRY_POLL_SECONDS="0.1",
    )
    try:
        wait_until(lambda: is_ready(url), "it is ready", seconds=30)
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket_path))) as near:
            assert near.post("http://replica/predict", json=EXAMPLE).status_code == 200
        # A client that selects a version which takes a while is in flight when the signal comes.
        mlflow.publish(files(), name="slow")
        wait_until(lambda: "slow" in httpx.get(f"{url}/models").text, "the model is known")
        mlflow.artifact_delay = 0.7
        answers: list[int] = []
        client = threading.Thread(
            target=lambda: answers.append(
                httpx.post(
                    f"{url}/predict", json=EXAMPLE, headers={"X-Model": "slow"}, timeout=20
                ).status_code
            )
        )
        before = len(mlflow.calls)
        client.start()
        wait_until(lambda: any("artifacts" in call for call in mlflow.calls[before:]), "it loads")
        process.send_signal(signal.SIGTERM)
        client.join()
        output, errors = process.communicate(timeout=15)
    finally:
        process.kill()
    assert answers == [200]
    assert process.returncode in (0, -signal.SIGTERM)
    assert errors == ""
    lines = [json.loads(line) for line in output.splitlines()]
    assert "a model was loaded" in {line["message"] for line in lines}
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)


def test_wrong_settings_are_named_and_no_secret_is_shown() -> None:
    process = start(PORT="none", MLFLOW_TRACKING_PASSWORD="hush-hush")
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "PORT: " in errors
    assert "MLFLOW_TRACKING_URI: " in errors
    assert "hush-hush" not in output + errors


def test_a_folder_that_cannot_be_used_ends_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    process = start(MLFLOW_TRACKING_URI="http://127.0.0.1:1", CACHE_DIR=str(tmp_path / "file"))
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "CACHE_DIR cannot be used" in output


def test_a_socket_that_cannot_be_made_ends_it(tmp_path: Path) -> None:
    process = start(
        MLFLOW_TRACKING_URI="http://127.0.0.1:1",
        CACHE_DIR=str(tmp_path),
        PORT=str(free_port()),
        SOCKET_PATH=str(tmp_path / "missing" / "replica.sock"),
    )
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "SOCKET_PATH cannot be used" in output
