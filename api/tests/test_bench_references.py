"""The references answer as the inference API does, or comparing them would mean nothing."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.conftest import wait_until
from tests.graphs import EXAMPLE, files

API = Path(__file__).resolve().parents[1]
ROWS = [EXAMPLE, EXAMPLE | {"height": 200}, EXAMPLE | {"height": 200, "place": "there"}]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    for name, content in files().items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_bare_loop_tells_its_rate(model: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.json"
    rows.write_text(json.dumps(ROWS))
    printed = subprocess.run(
        [sys.executable, "-m", "bench.references.bare_loop", model, rows, "0.2"],
        cwd=API,
        check=True,
        capture_output=True,
    )
    assert json.loads(printed.stdout)["per_second"] > 1000


def test_fastapi_with_onnx_runtime_predicts(model: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "uvicorn", "bench.references.fastapi_onnx:app"),
            *("--port", str(port), "--log-level", "warning"),
        ],
        cwd=API,
        env={**os.environ, "MODEL_FOLDER": str(model)},
    )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: _answers(url), "the reference answers", 20)
        answers = [httpx.post(f"{url}/predict", json=row).json() for row in ROWS]
        assert [answer["class_name"] for answer in answers] == ["low", "Föhre", "other"]
        assert httpx.post(f"{url}/predict", json={"height": "x"}).status_code == 422
    finally:
        server.terminate()
        server.wait(10)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/openapi.json").status_code == 200
    except httpx.HTTPError:
        return False
