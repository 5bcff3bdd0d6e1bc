"""Requests that wait are predicted together, in their order, and refused when they are too many."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from inference_api.metrics import RouteStatistics
from inference_api.model import Identity, LoadedModel, load
from inference_api.prediction_queue import PredictionQueue
from inference_api.problems import ServiceError
from tests.graphs import EXAMPLE, files, tree

BODY = json.dumps(EXAMPLE).encode()
LIST = json.dumps([EXAMPLE] * 100).encode()


class Request:
    def __init__(self, body: bytes = BODY, selection: str | None = None) -> None:
        self.body = body
        self.selection = selection
        self.started = perf_counter()
        self.status = 0
        self.retry_after: int | None = None
        self.answer: Any = None

    def reply(self, status: int, body: bytes, retry_after: int | None) -> None:
        assert self.status == 0, "answered twice"
        self.status, self.retry_after, self.answer = status, retry_after, json.loads(body)


class Store:
    """Two models in memory, one that can be loaded, and none else."""

    def __init__(self, make: Callable[[str], LoadedModel]) -> None:
        self.default: LoadedModel | None = make("default")
        self.models = {"other": make("other")}
        self.late = make("late")

    def find(self, value: str) -> LoadedModel | None:
        return self.models.get(value)

    async def load_selected(self, value: str) -> LoadedModel:
        await asyncio.sleep(0)
        if value != "late":
            raise ServiceError(404, "There is none.")
        return self.late

    def explain_no_default(self) -> ServiceError:
        return ServiceError(503, "There is no model yet.", 5)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    for name, content in files(tree(threshold=1)).items():
        (tmp_path / name).write_bytes(content)
    return Store(lambda name: load(Identity(name, "1", 0), tmp_path, 100))


@pytest.fixture
def statistics() -> RouteStatistics:
    return RouteStatistics()


def answer(
    store: Store,
    statistics: RouteStatistics,
    requests: list[Request],
    max_wait_seconds: float = 60.0,
) -> None:
    """Submit requests in one turn of a loop and wait until all are answered."""

    async def run() -> None:
        queue = PredictionQueue(store, statistics, max_wait_seconds)  # type: ignore[arg-type]
        for request in requests:
            queue.submit(request)
        while not all(request.status for request in requests):
            await asyncio.sleep(0)

    bounded: Awaitable[None] = run()
    asyncio.run(asyncio.wait_for(bounded, 10))


def test_each_gets_its_own_answer(store: Store, statistics: RouteStatistics) -> None:
    low = json.dumps({**EXAMPLE, "height": 0}).encode()
    mixed = json.dumps([{**EXAMPLE, "height": 0}, EXAMPLE]).encode()
    requests = [Request(body) for body in [BODY, low, mixed, b"{", low] * 30]
    answer(store, statistics, requests)
    classes = [
        [one["class_number"] for one in request.answer["predictions"]]
        for request in requests
        if request.status == 200
    ]
    assert classes == [[1], [0], [0, 1], [0]] * 30
    assert [request.status for request in requests] == [200, 200, 200, 422, 200] * 30
    assert statistics.statuses == {200: 120, 422: 30}


def test_those_of_a_turn_share_one_call(
    store: Store, statistics: RouteStatistics, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store.default is not None
    sizes: list[int] = []
    labels = store.default.labels

    def counting(rows: bytes, count: int) -> list[int]:
        sizes.append(count)
        return labels(rows, count)

    monkeypatch.setattr(store.default, "labels", counting)
    answer(store, statistics, [Request() for _ in range(70)])
    assert sizes == [32, 32, 6]
    sizes.clear()
    answer(store, statistics, [Request(LIST) for _ in range(20)])
    assert sum(sizes) == 2000
    assert max(sizes) < 2000, "a turn is bounded by its bytes too"


def test_as_soon_as_a_call_is_full_it_is_made(store: Store, statistics: RouteStatistics) -> None:
    async def run() -> None:
        queue = PredictionQueue(store, statistics, 60.0)  # type: ignore[arg-type]
        # A thousand and some, of which the loop reads all before it comes round.
        requests = [Request() for _ in range(32 * 35)]
        answered = []
        for request in requests:
            queue.submit(request)
            answered.append(statistics.statuses.get(200, 0))
        assert answered[:33] == [0] * 31 + [32, 32]
        assert answered[-1] == 32 * 32, "the loop does not come round"
        await asyncio.sleep(0)
        assert statistics.statuses[200] == 32 * 33
        # Each round of the loop takes as many again, those first that have waited longest.
        later = [Request() for _ in range(31)]
        for request in later:
            queue.submit(request)
        assert all(request.status for request in requests)
        while not all(request.status for request in later):
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(run(), 10))


def test_models_are_not_mixed(store: Store, statistics: RouteStatistics) -> None:
    selections = [None, "other", "other", "late", None, "nobody"] * 5
    requests = [Request(selection=selection) for selection in selections]
    answer(store, statistics, requests)
    named = [request.answer.get("model", {}).get("name") for request in requests]
    assert named == ["default", "other", "other", "late", "default", None] * 5
    assert requests[5].status == 404


def test_without_a_model_it_says_so(store: Store, statistics: RouteStatistics) -> None:
    store.default = None
    requests = [Request(), Request(selection="other")]
    answer(store, statistics, requests)
    assert [(one.status, one.retry_after) for one in requests] == [(503, 5), (200, None)]


def test_a_long_list_that_has_waited_too_long_is_refused_when_its_turn_comes(
    store: Store, statistics: RouteStatistics
) -> None:
    answered: list[Request] = []

    class Noted(Request):
        def reply(self, status: int, body: bytes, retry_after: int | None) -> None:
            super().reply(status, body, retry_after)
            answered.append(self)

    # More than one turn takes.
    requests = [Noted() for _ in range(70)]
    late = requests[33] = Noted(LIST)
    # A short one is answered all the same.
    for request in (late, requests[34]):
        request.started -= 61.0
    answer(store, statistics, list(requests), max_wait_seconds=60.0)
    assert [one.status for one in requests] == [200] * 33 + [503] + [200] * 36
    assert (late.retry_after, "waiting" in late.answer["detail"]) == (1, True)
    assert set(answered[:32]) == set(requests[:32]), "it was refused before those that came first"
    assert statistics.statuses == {200: 69, 503: 1}


def test_a_failure_of_the_model_is_each_ones_500(
    store: Store,
    statistics: RouteStatistics,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("broken")

    assert store.default is not None
    monkeypatch.setattr(store.default, "labels", fail)
    monkeypatch.setattr(store.late, "labels", fail)
    monkeypatch.setattr(store.models["other"], "decode", fail)
    selections = [None, None, "other", "late"]
    requests = [Request(selection=selection) for selection in selections]
    answer(store, statistics, requests)
    assert [request.status for request in requests] == [500] * 4
    assert "a prediction failed" in caplog.text
    assert statistics.statuses == {500: 4}


def test_a_client_that_fails_does_not_stop_the_queue(
    store: Store, statistics: RouteStatistics, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Request):
        def reply(self, status: int, body: bytes, retry_after: int | None) -> None:
            super().reply(status, body, retry_after)
            raise RuntimeError("broken")

    requests = [*[Request() for _ in range(31)], Broken(), *[Request() for _ in range(31)]]
    answer(store, statistics, requests)
    assert {request.status for request in requests} == {200}
    assert "a turn of the queue failed" in caplog.text
