"""Locust itself runs the clients, against an API on this host."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MODEL, PREDICTED, FakeApi

# Of all clients together.
ROUNDS = 8
LOCUSTFILE = Path(__file__).parents[1] / "load_test" / "locustfile.py"
QUESTIONS = ['{"Elevation":1}', '{"Elevation":2}', '{"Elevation":3}']


def run_locust(
    api: FakeApi, folder: Path, authority: Path | None = None, seconds: float = 30
) -> tuple[dict[str, tuple[int, int]], str]:
    """Run four clients until they have gone through some rounds, or the time is over.

    Returns:
        The number of requests and of failures by request name, and all that Locust printed.
    """
    (folder / "questions.jsonl").write_text("\n".join(QUESTIONS))
    variables = {
        "TARGET_URL": api.url,
        "MODEL_NAME": "modelo1",
        "QUESTIONS_FILE": str(folder / "questions.jsonl"),
        "AUTHORITY_FILE": str(authority or ""),
        "PYTHONPATH": str(LOCUSTFILE.parents[1]),
    }
    # Stopped by a signal: after a slow start Locust takes a short run time for over at once.
    locust = subprocess.Popen(
        [
            *(sys.executable, "-m", "locust", "--locustfile", LOCUSTFILE, "--headless"),
            *("--users", "4", "--spawn-rate", "4", "--stop-timeout", "5", "--only-summary"),
            # Not where the load is to go.
            *("--host", "http://127.0.0.1:9"),
        ],
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + seconds
    while len(api.asked) < ROUNDS * 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    locust.terminate()
    printed, _ = locust.communicate(timeout=30)
    assert "Traceback" not in printed, printed
    rows = re.findall(r"^(?:GET|POST) +(\S+) +(\d+) +(\d+)\(", printed, re.MULTILINE)
    return {name: (int(asked), int(failed)) for name, asked, failed in rows}, printed


def test_clients_ask_in_order_with_rows_that_differ(api: FakeApi, tmp_path: Path) -> None:
    counts, printed = run_locust(api, tmp_path)
    assert set(counts) == {"/models", "/select-model", "/predict"}, printed
    rounds, _ = counts["/predict"]
    assert rounds >= ROUNDS
    assert set(counts.values()) == {(rounds, 0)}
    predictions = [(body, selection) for path, body, selection in api.asked if path == "/predict"]
    assert {body.decode() for body, _ in predictions} <= set(QUESTIONS)
    assert len({body for body, _ in predictions}) > 1
    # The selection travels with the client.
    assert {selection for _, selection in predictions} == {"modelo1"}


def test_a_certificate_is_checked(sealed_api: FakeApi, certificate: Path, tmp_path: Path) -> None:
    counts, printed = run_locust(sealed_api, tmp_path, certificate)
    assert set(counts) == {"/models", "/select-model", "/predict"}, printed
    assert all(asked > 0 and failed == 0 for asked, failed in counts.values()), printed


def test_a_certificate_from_elsewhere_is_a_failure(sealed_api: FakeApi, tmp_path: Path) -> None:
    counts, printed = run_locust(sealed_api, tmp_path, seconds=4)
    assert all(asked == failed > 0 for asked, failed in counts.values()), printed
    assert "CERTIFICATE_VERIFY_FAILED" in printed
    assert not sealed_api.asked


@pytest.mark.parametrize(
    ("path", "answer", "told"),
    [
        ("/models", (200, {"models": []}), "the model is not listed"),
        ("/select-model", (503, {}), "status 503"),
        ("/predict", (200, PREDICTED | {"model": MODEL | {"name": "b"}}), "another model"),
    ],
)
def test_a_wrong_answer_is_a_failure(
    api: FakeApi, tmp_path: Path, path: str, answer: tuple[int, Any], told: str
) -> None:
    api.answers[path] = answer
    counts, printed = run_locust(api, tmp_path)
    for name, (asked, failed) in counts.items():
        assert failed == (asked if name == path else 0), printed
    assert counts[path][0] > 0
    # One line for all of them.
    assert len(re.findall(rf"^\d+ +(?:GET|POST) {path}: .*{told}", printed, re.MULTILINE)) == 1
