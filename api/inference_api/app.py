"""The service as one ASGI application: ``/predict`` in front of a FastAPI application."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, Literal

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr
from starlette.exceptions import HTTPException

from inference_api.cache import Cache
from inference_api.http_protocol import AnswerHeads, PredictProtocol
from inference_api.metrics import Metrics
from inference_api.openapi import add_predict, json_response
from inference_api.predict import (
    PATH,
    REPLICA_HEADER,
    SELECTION_COOKIE,
    SELECTION_HEADER,
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
from inference_api.store import ModelStore, Selection

_ROUTES = (PATH, "/models", "/select-model", "/health/live", "/health/ready", "/metrics")


class ModelReference(BaseModel):
    """A version of a model."""

    name: str
    version: str


class ModelDescription(ModelReference):
    """A registered model's version in production."""

    created: datetime
    metrics: dict[str, float]


class Models(BaseModel):
    """Answer of ``GET /models``."""

    models: list[ModelDescription]


class SelectModel(BaseModel):
    """Body of ``POST /select-model``."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model_name: StrictStr = Field(min_length=1, examples=["modelo1"])
    version: StrictStr | StrictInt | None = Field(
        None, description="Without it: whichever version is in production.", examples=["3"]
    )


class Selected(BaseModel):
    """Answer of ``POST /select-model``."""

    model: ModelReference
    value: str = Field(description="The cookie's value, which may be sent as a header instead.")
    cookie: str
    header: str


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
        self.protocol = _bind_protocol(queue, settings.max_body_bytes, replica)
        """The HTTP protocol to serve it with: uvicorn's, and a short way to the queue."""
        self._rest = _build_rest(self.store, self._metrics, settings.max_rows)

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
    queue: PredictionQueue, max_body_bytes: int, replica: bytes
) -> type[PredictProtocol]:
    class BoundProtocol(PredictProtocol):
        pass

    BoundProtocol.queue = queue
    BoundProtocol.max_body_bytes = max_body_bytes
    BoundProtocol.heads = AnswerHeads(replica)
    return BoundProtocol


def _build_rest(store: ModelStore, metrics: Metrics, max_rows: int) -> FastAPI:
    """Build the FastAPI application that answers everything but predictions."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        store.start(asyncio.get_running_loop())
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
    _add_model_routes(app, store)
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


def _add_model_routes(app: FastAPI, store: ModelStore) -> None:
    @app.get("/models", tags=["models"], summary="List the models in production")
    async def models() -> Models:
        return Models(
            models=[
                ModelDescription(
                    name=name,
                    version=model.production,
                    created=datetime.fromtimestamp(
                        model.versions[model.production].created_ms / 1000, UTC
                    ),
                    metrics=model.metrics or {},
                )
                for name, model in sorted(store.state.items())
            ]
        )

    @app.post(
        "/select-model",
        tags=["models"],
        summary="Choose the model of this client",
        responses={
            400: json_response("The body is no text", "Sentence"),
            404: json_response("There is no such model or version", "Sentence"),
            422: json_response("Everything that is wrong with the body", "Problems"),
        },
    )
    async def select_model(body: SelectModel, response: Response) -> Selected:
        version = None if body.version is None else str(body.version)
        selection = Selection(body.model_name, version)
        used = store.check(selection)
        store.prefetch(selection)
        # Not set_cookie: it would put a value with a slash between quotes, and the cookie's
        # value is to be the one in the body.
        response.headers["set-cookie"] = (
            f"{SELECTION_COOKIE}={selection}; HttpOnly; Path=/; SameSite=Lax"
        )
        return Selected(
            model=ModelReference(name=selection.name, version=used),
            value=str(selection),
            cookie=SELECTION_COOKIE,
            header=SELECTION_HEADER,
        )


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
