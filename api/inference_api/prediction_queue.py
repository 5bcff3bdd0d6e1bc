"""The one way to the models: requests that wait, predicted together in each turn of the loop.

Requests that arrive in the same turn of the event loop share one call of ONNX Runtime, which
costs less for each the more they are; under light load a request is alone and waits for nobody.
As soon as there are enough for one call they are answered, while the loop still reads: their memory
is in the processor's caches then, and no longer when a thousand others have been read after them.
A long list that has waited too long when its turn comes is refused, which is far cheaper than to
predict it. A short one is answered even then: to read and to refuse it costs as much. How many wait
at a time is for whoever sends them (nginx) to bound. Nothing is refused at once, and not everything
is answered at once: each makes room for the next request while the event loop still reads from
sockets, of which it handles up to 48 x 1,024 before anything else has a turn. New connections would
wait for seconds, and those in the queue for a minute.
"""

import asyncio
import logging
from collections import deque
from time import perf_counter
from typing import Protocol

from inference_api.metrics import RouteStatistics
from inference_api.model import LoadedModel
from inference_api.problems import InvalidBodyError, ServiceError, encode_detail
from inference_api.store import ModelStore

logger = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 1
# What a turn takes at most, so that other requests (is the replica alive?) get theirs.
_TURN_REQUESTS = 32
_TURN_BYTES = 65536
# How many of them are taken while the loop reads, before it has to come round.
_TURNS_WHILE_READING = 32
# Up to a few rows. At a tenth of a processor, refusing all that were late left 10 answers a second
# of 127.
_SHORT_BYTES = 2048


class PendingRequest(Protocol):
    """A request whose body has arrived.

    Attributes:
        body: The body.
        selection: The value of the client's header or cookie; None: the default model.
        started: When its head arrived, on the scale of :func:`time.perf_counter`.
    """

    body: bytes
    selection: str | None
    started: float

    def reply(self, status: int, body: bytes, retry_after: int | None) -> None:
        """Send the answer; whether the client is still there is for this method to look after.

        Args:
            status: HTTP status.
            body: JSON.
            retry_after: Seconds after which asking again makes sense, or None.
        """


class PredictionQueue:
    """Answers predictions. It is used by the event loop's thread alone.

    Args:
        store: Where the models are.
        statistics: What counts the requests.
        max_wait_seconds: A long list that has waited longer for its turn is refused.
    """

    def __init__(
        self, store: ModelStore, statistics: RouteStatistics, max_wait_seconds: float
    ) -> None:
        self._store = store
        self._statistics = statistics
        self._max_wait_seconds = max_wait_seconds
        self._requests: deque[PendingRequest] = deque()
        self._turn_is_due = False
        self._turns_left_while_reading = 0
        self._loads: set[asyncio.Task[None]] = set()

    def submit(self, request: PendingRequest) -> None:
        """Take a request; it is answered at once if it fills a call of the model, or else later."""
        self._requests.append(request)
        if not self._turn_is_due:
            self._have_a_turn()
        elif self._turns_left_while_reading and len(self._requests) >= _TURN_REQUESTS:
            self._turns_left_while_reading -= 1
            self._answer_first()

    def _have_a_turn(self) -> None:
        self._turn_is_due = True
        self._turns_left_while_reading = _TURNS_WHILE_READING
        asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        """Answer the requests that have waited longest, then let the loop do other things."""
        self._turn_is_due = False
        self._answer_first()
        if self._requests:
            self._have_a_turn()

    def _answer_first(self) -> None:
        """Answer the requests that have waited longest, as many as a turn takes."""
        requests = self._requests
        taken: list[PendingRequest] = []
        size = 0
        while requests and len(taken) < _TURN_REQUESTS and size < _TURN_BYTES:
            request = requests.popleft()
            size += len(request.body)
            taken.append(request)
        try:
            self._answer(taken)
        except Exception:
            logger.exception("a turn of the queue failed")  # the next ones go on

    def _answer(self, requests: list[PendingRequest]) -> None:
        model: LoadedModel | None = None
        batch: list[PendingRequest] = []
        rows: list[bytes] = []
        counts: list[int] = []
        latest = perf_counter() - self._max_wait_seconds
        for request in requests:
            if request.started < latest and len(request.body) > _SHORT_BYTES:
                error = ServiceError(
                    503, "More requests are waiting than can be answered soon.", RETRY_AFTER_SECONDS
                )
                self._fail(request, error)
                continue
            selection = request.selection
            wanted = self._store.default if selection is None else self._store.find(selection)
            if wanted is None:
                self._answer_without_model(request)
                continue
            if wanted is not model:
                if model is not None:
                    self._predict(model, batch, rows, counts)
                    batch, rows, counts = [], [], []
                model = wanted
            packed = self._decode(wanted, request)
            if packed is None:
                continue
            batch.append(request)
            rows.append(packed[0])
            counts.append(packed[1])
        if model is not None:
            self._predict(model, batch, rows, counts)

    def _decode(self, model: LoadedModel, request: PendingRequest) -> tuple[bytes, int] | None:
        """Return a request's rows and their number; None if the request was refused."""
        try:
            return model.decode(request.body)
        except (InvalidBodyError, ServiceError) as error:
            self._fail(request, error)
        except Exception:
            logger.exception("a prediction failed")
            self._fail(request, _failure())
        return None

    def _predict(
        self,
        model: LoadedModel,
        requests: list[PendingRequest],
        rows: list[bytes],
        counts: list[int],
    ) -> None:
        if not requests:
            return
        try:
            answers = model.predict(rows, counts)
        except Exception:
            logger.exception("a prediction failed")
            for request in requests:
                self._fail(request, _failure())
            return
        model.last_used = now = perf_counter()
        observe = self._statistics.observe
        for request, answer in zip(requests, answers, strict=True):
            observe(200, now - request.started)
            request.reply(200, answer, None)

    def _answer_without_model(self, request: PendingRequest) -> None:
        if request.selection is None:
            self._fail(request, self._store.explain_no_default())
            return
        task = asyncio.get_running_loop().create_task(
            self._load_and_predict(request, request.selection)
        )
        self._loads.add(task)
        task.add_done_callback(self._loads.discard)

    async def _load_and_predict(self, request: PendingRequest, selection: str) -> None:
        try:
            model = await self._store.load_selected(selection)
        except ServiceError as error:
            self._fail(request, error)
        except Exception:
            logger.exception("a prediction failed")
            self._fail(request, _failure())
        else:
            packed = self._decode(model, request)
            if packed is not None:
                self._predict(model, [request], [packed[0]], [packed[1]])

    def _fail(self, request: PendingRequest, error: InvalidBodyError | ServiceError) -> None:
        if isinstance(error, InvalidBodyError):
            status, detail, retry_after = 422, encode_detail(error.problems), None
        else:
            status, detail = error.status, encode_detail(error.detail)
            retry_after = error.retry_after
        self._statistics.observe(status, perf_counter() - request.started)
        request.reply(status, detail, retry_after)


def _failure() -> ServiceError:
    return ServiceError(500, "The service failed; its log says why.")
