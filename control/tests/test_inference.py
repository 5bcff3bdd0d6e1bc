import socket
from collections.abc import Callable

import pytest

from control.errors import ControlError
from control.inference import Inference, Model, example
from control.rest import UnreachableError, send
from control.tests.conftest import FakeServer

PREDICTION = {
    "predictions": [{"class_number": 5, "class_name": "Douglas-fir"}],
    "model": {"name": "modelo1", "version": "3"},
}


def sequence(*answers: tuple[int, object]) -> Callable[[str, str, object], tuple[int, object]]:
    """Give the answers in order, and the last one for ever."""
    rest = list(answers)
    return lambda *_: rest.pop(0) if len(rest) > 1 else rest[0]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def inference(url: str, patience: float = 120) -> Inference:
    clock = Clock()
    return Inference(url, patience=patience, clock=clock, sleep=clock.sleep)


def live(registry: str, *models: str) -> object:
    known = [{"name": name, "version": "3", "loaded": True} for name in models]
    return {"status": "live", "registry": registry, "models": known}


def test_prediction_waits_for_the_first_model(server: FakeServer) -> None:
    server.answer = sequence(
        (502, b"<html>Bad Gateway</html>"), (503, {"detail": "run the pipeline"}), (200, PREDICTION)
    )
    assert inference(server.url).predict(example()) == PREDICTION
    assert server.requests[-1] == ("POST", "/predict", example())


def test_refused_body_is_reported_at_once(server: FakeServer) -> None:
    server.answer = sequence((422, {"detail": [{"loc": ["body", "Slope"], "msg": "missing"}]}))
    with pytest.raises(ControlError, match=r"answered 422: .*Slope.*missing"):
        inference(server.url).predict({})
    assert len(server.requests) == 1


def test_no_model_after_all_patience(server: FakeServer) -> None:
    server.answer = sequence((503, {"detail": "No model yet: run the pipeline"}))
    with pytest.raises(ControlError, match="answered 503: No model yet"):
        inference(server.url, patience=3).predict(example())


def test_pages_of_the_proxy_lose_their_markup(server: FakeServer) -> None:
    server.answer = sequence((504, b"<html><h1>504 Gateway Time-out</h1>\r\n<hr>nginx</html>"))
    with pytest.raises(ControlError, match=r"answered 504: 504 Gateway Time-out nginx$"):
        inference(server.url, patience=0).predict(example())


def test_model_in_production(server: FakeServer) -> None:
    server.answer = sequence((200, live("unreachable", "other", "modelo1")))
    assert inference(server.url).production_model() == Model("modelo1", "3")


def test_none_only_when_the_registry_said_so(server: FakeServer) -> None:
    server.answer = sequence((200, live("unreachable")), (200, live("reachable", "other")))
    assert inference(server.url).production_model() is None
    assert len(server.requests) == 2


def test_registry_that_stays_away(server: FakeServer) -> None:
    server.answer = sequence((200, live("unreachable")))
    with pytest.raises(ControlError, match="cannot reach MLflow"):
        inference(server.url, patience=2).production_model()


def test_nothing_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(UnreachableError, match="nothing listens there"):
            inference(url, patience=1).predict(example())


def test_no_answer_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(UnreachableError, match=r"no answer within 0 s\. The machine is over"):
            send("GET", url, timeout=0.2)


def test_proxies_are_not_asked(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    server.answer = sequence((200, {"well": True}))
    assert send("GET", f"{server.url}/x").body == {"well": True}
