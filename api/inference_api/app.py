"""The service as one ASGI application: ``/predict`` in front of a FastAPI application."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any, Literal

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from inference_api.cache import Cache
from inference_api.http_protocol import AnswerHeads, PlainRoute, ShortWayProtocol
from inference_api.metrics import Metrics
from inference_api.model_routes import MODELS_PATH, SELECT_PATH, ModelReference, ModelRoutes
from inference_api.openapi import add_predict, json_response
from inference_api.predict import (
    PATH,
    REPLICA_HEADER,
    Message,
    PredictEndpoint,
    Receive,
    Scope,
    Send,
)
from inference_api.prediction_queue import PredictionQueue
from inference_api.problems import Problem, ServiceError, body_too_large, encode_detail
from inference_api.registry import Registry
from inference_api.settings import Settings
from inference_api.store import ModelStore

_ROUTES = (PATH, MODELS_PATH, SELECT_PATH, "/health/live", "/health/ready", "/metrics")


class KnownModel(ModelReference):
    """A registered model's version in production, as health reports it."""

    loaded: bool


class Live(BaseModel):
    """Answer of ``GET /health/live``."""

    status: Literal["live"]
    registry: Literal["reachable", "unreachable"]
    models: list[KnownModel]


class Ready(BaseModel):
    """Answer of ``GET /health/ready``."""

    status: Literal["ready"]
    model: ModelReference


class Application:
    """The ASGI application of one replica.

    Args:
        settings: The replica's settings.

    Raises:
        OSError: The cache directory cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        registry = Registry(
            str(settings.mlflow_tracking_uri),
            settings.mlflow_tracking_username,
            settings.mlflow_tracking_password.get_secret_value(),
            settings.production_alias,
            settings.standby_aliases,
        )
        self.store = ModelStore(settings, registry, Cache(settings.cache_dir))
        self._max_body_bytes = settings.max_body_bytes
        self._metrics = Metrics(self.store, _ROUTES)
        replica = socket.gethostname().encode("ascii", "replace")
        self._replica = (REPLICA_HEADER.lower().encode(), replica)
        statistics = self._metrics.route(PATH)
        queue = PredictionQueue(self.store, statistics, settings.max_wait_seconds)
        self._predict = PredictEndpoint(queue, settings.max_body_bytes, replica, statistics)
        model_routes = ModelRoutes(self.store)
        routes = (
            PlainRoute(PATH.encode(), b"POST", statistics, None),
            PlainRoute(
                MODELS_PATH.encode(),
                b"GET",
                self._metrics.route(MODELS_PATH),
                lambda _: model_routes.list_models(),
            ),
            PlainRoute(
                SELECT_PATH.encode(),
                b"POST",
                self._metrics.route(SELECT_PATH),
                model_routes.select_plainly,
            ),
        )
        self.protocol = _bind_protocol(queue, routes, settings.max_body_bytes, replica)
        """The HTTP protocol to serve it with: uvicorn's, and a short way for plain requests."""
        self._rest = _build_rest(self.store, model_routes, self._metrics, settings.max_rows)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (or take part in the server's start and stop)."""
        if scope["type"] != "http":
            await self._rest(scope, receive, send)
        elif scope["path"] == PATH:
            await self._predict(scope, receive, send)
        else:
            await self._answer_rest(scope, receive, send)

    async def _answer_rest(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        size = 0

        async def bounded_receive() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._max_body_bytes:
                error = body_too_large(self._max_body_bytes)
                raise HTTPException(error.status, error.detail)
            return message

        async def observed_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), self._replica]
                self._metrics.route(scope["path"]).observe(
                    message["status"], perf_counter() - started
                )
            await send(message)

        # A body is JSON whatever its label says, as for /predict: `curl -d` calls it a form.
        headers = [header for header in scope["headers"] if header[0] != b"content-type"]
        await self._rest({**scope, "headers": headers}, bounded_receive, observed_send)


def _bind_protocol(
    queue: PredictionQueue, routes: Iterable[PlainRoute], max_body_bytes: int, replica: bytes
) -> type[ShortWayProtocol]:
    class BoundProtocol(ShortWayProtocol):
        pass

    BoundProtocol.queue = queue
    BoundProtocol.routes = {route.path: route for route in routes}
    BoundProtocol.max_body_bytes = max_body_bytes
    BoundProtocol.heads = AnswerHeads(replica)
    return BoundProtocol


def _build_rest(
    store: ModelStore, model_routes: ModelRoutes, metrics: Metrics, max_rows: int
) -> FastAPI:
    """Build the FastAPI application that answers everything but predictions."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        store.start(asyncio.get_running_loop())
        # The server accepts connections only after this.
        await store.wait_for_first_look()
        yield
        store.stop()

    app = FastAPIOffline(
        redoc_url=None,
        title="Inference API",
        version="1",
        description="Predictions by the models that are in production in the registry.",
        lifespan=lifespan,
        strict_content_type=False,
    )
    _add_openapi(app, store, max_rows)
    _add_error_handlers(app)
    model_routes.add_to(app)
    _add_health_routes(app, store)

    @app.get("/metrics", include_in_schema=False)
    async def prometheus() -> Response:
        return Response(metrics.exposition(), headers={"content-type": CONTENT_TYPE_LATEST})

    return app


def _add_openapi(app: FastAPI, store: ModelStore, max_rows: int) -> None:
    framework = app.openapi

    def openapi() -> dict[str, Any]:
        app.openapi_schema = None  # FastAPI would keep the document of the first model
        document = framework()
        add_predict(document, store.default, max_rows)
        return document

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's documented way


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(ServiceError)
    async def service_error(_: Request, error: ServiceError) -> Response:
        headers = {} if error.retry_after is None else {"retry-after": str(error.retry_after)}
        return _error(error.status, encode_detail(error.detail), headers)

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> Response:
        return _error(error.status_code, encode_detail(error.detail), dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def validation_error(_: Request, error: RequestValidationError) -> Response:
        problems: list[Problem] = [
            {"loc": list(found["loc"]), "msg": found["msg"], "type": found["type"]}
            for found in error.errors()
        ]
        return _error(422, encode_detail(problems), {})

    @app.exception_handler(Exception)
    async def failure(_: Request, __: Exception) -> Response:
        return _error(500, encode_detail("The service failed; its log says why."), {})


def _error(status: int, body: bytes, headers: dict[str, str]) -> Response:
    return Response(body, status, headers, media_type="application/json")


def _add_health_routes(app: FastAPI, store: ModelStore) -> None:
    @app.get("/health/live", tags=["health"], summary="Tell that the replica runs")
    async def live() -> Live:
        return Live(
            status="live",
            registry="reachable" if store.registry_reachable else "unreachable",
            models=[
                KnownModel(
                    name=name,
                    version=model.production,
                    loaded=store.is_loaded(name, model.production),
                )
                for name, model in sorted(store.state.items())
            ],
        )

    @app.get(
        "/health/ready",
        tags=["health"],
        summary="Tell whether the default model can answer",
        responses={503: json_response("It cannot; the detail says why", "Sentence")},
    )
    async def ready() -> Ready:
        if store.default is None:
            raise store.explain_no_default()
        name, version, _ = store.default.identity
        return Ready(status="ready", model=ModelReference(name=name, version=version))
