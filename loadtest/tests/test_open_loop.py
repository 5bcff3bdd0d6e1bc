import json
import threading
import time
from pathlib import Path

import pytest

from load_test.open_loop import Counted, Plan, bucket_end_ms, bucket_of, generate, main
from load_test.settings import Settings
from tests.conftest import MODEL, PREDICTED, FakeApi

QUESTIONS = ('{"Elevation":1}', '{"Elevation":2}', '{"Elevation":3}')
RATE, SECONDS = 100, 1.0


def counted(url: str, processes: int = 1, connections: int = 20) -> Counted:
    plan = Plan(RATE, SECONDS, 0.3, processes, connections)
    return generate(Settings(url, "modelo1", QUESTIONS), plan)


def test_a_certificate_is_checked(sealed_api: FakeApi, certificate: Path) -> None:
    plan = Plan(RATE, SECONDS, 0.3, 1, 20)
    settings = Settings(sealed_api.url, "modelo1", QUESTIONS, str(certificate))
    counts = generate(settings, plan)
    assert counts.ended == {"200": counts.due}
    from_elsewhere = counted(sealed_api.url)
    assert from_elsewhere.ended == {"no answer": from_elsewhere.due}


def slower_than(counts: Counted, milliseconds: float) -> int:
    return sum(
        number for key, number in counts.latencies.items() if bucket_end_ms(key) > milliseconds
    )


@pytest.mark.parametrize("processes", [1, 2])
def test_every_request_is_sent_and_counted_once(api: FakeApi, processes: int) -> None:
    counts = counted(api.url, processes)
    assert counts.due == pytest.approx(RATE * SECONDS, abs=2)
    assert counts.ended == {"200": counts.due}
    assert sum(counts.latencies.values()) == sum(counts.lateness.values()) == counts.due
    assert len(counts.processor_seconds) == processes
    assert {body.decode() for _, body, _ in api.asked} == set(QUESTIONS)
    # Those of the warm-up were sent and not counted.
    assert len(api.asked) == pytest.approx(RATE * (SECONDS + 0.3), abs=4)


def test_connections_take_turns(api: FakeApi) -> None:
    counted(api.url, connections=20)
    assert len(api.connections) == 20
    assert max(api.connections) - min(api.connections) <= 2


def test_time_spent_waiting_for_a_connection_counts(api: FakeApi) -> None:
    def stop_once(number: int) -> None:
        if number == 60:
            time.sleep(0.5)

    api.before_answer = stop_once
    counts = counted(api.url, connections=1)
    assert counts.ended == {"200": counts.due}
    # All that were due meanwhile waited, not only the one that was on its way.
    # A busy machine makes it more.
    assert slower_than(counts, 100) >= RATE * 0.4 - 12


def test_refusals_and_wrong_answers_are_no_answers(api: FakeApi) -> None:
    api.answers["/predict"] = (503, {"detail": "too much"})
    assert counted(api.url).ended.keys() == {"503"}
    api.answers["/predict"] = (200, PREDICTED | {"model": MODEL | {"name": "other"}})
    wrong = counted(api.url)
    assert wrong.ended == {"wrong answer": wrong.due}
    assert not wrong.latencies


def test_nobody_there() -> None:
    counts = counted("http://127.0.0.1:9")
    assert counts.ended == {"no answer": counts.due}


def test_connections_that_break_off(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_off(number: int) -> None:
        if number % 10 == 0:
            raise ConnectionResetError

    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    api.before_answer = break_off
    counts = counted(api.url)
    assert set(counts.ended) == {"200", "no answer"}
    assert counts.ended["no answer"] == pytest.approx(RATE * SECONDS / 10, abs=3)
    assert counts.ended.total() == counts.due


def test_buckets_are_narrow() -> None:
    for seconds in (0.00005, 0.001, 0.0123, 1.5, 60):
        end = bucket_end_ms(bucket_of(seconds)) / 1000
        assert seconds <= end <= max(seconds * 1.021, 0.0001)


def test_command(
    api: FakeApi,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ready = tmp_path / "ready"
    options = [
        *("--rate", "50", "--seconds", "0.5", "--warm-up", "0.1"),
        *("--processes", "1", "--connections", "5", "--ready-file", str(ready)),
    ]
    assert main(options) == 1
    assert "TARGET_URL" in capsys.readouterr().err
    assert not ready.exists()
    (tmp_path / "questions.jsonl").write_text("\n".join(QUESTIONS))
    for name, value in (
        ("TARGET_URL", api.url),
        ("MODEL_NAME", "modelo1"),
        ("QUESTIONS_FILE", str(tmp_path / "questions.jsonl")),
    ):
        monkeypatch.setenv(name, value)
    assert main(options) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["ended"] == {"200": printed["due"]}
    assert sum(number for _, number in printed["latencies"]) == printed["due"]
    assert ready.exists()
