"""``GET /models`` and ``POST /select-model``.

FastAPI declares them and answers what is unusual (errors among it). Clients ask both for each
sequence of predictions, so their usual form takes the protocol's short way, as predictions do;
both ways answer with the same functions.
"""

from datetime import UTC, datetime

from fastapi import FastAPI, Response
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationError

from inference_api.http_protocol import Answer
from inference_api.openapi import json_response
from inference_api.predict import SELECTION_COOKIE, SELECTION_HEADER
from inference_api.problems import ServiceError
from inference_api.registry import RegistryState
from inference_api.store import ModelStore, Selection

MODELS_PATH = "/models"
SELECT_PATH = "/select-model"


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


class ModelRoutes:
    """Answers both routes. It is used by the event loop's thread alone.

    Args:
        store: Where the models are.
    """

    def __init__(self, store: ModelStore) -> None:
        self._store = store
        self._listed_state: RegistryState | None = None
        self._listed = b""

    def list_models(self) -> Answer:
        """Return the models in production, in the form of :class:`Models`."""
        state = self._store.state
        # The store puts a new state in the place of the old one and never changes it.
        if state is not self._listed_state:
            models = [
                ModelDescription(
                    name=name,
                    version=model.production,
                    created=datetime.fromtimestamp(
                        model.versions[model.production].created_ms / 1000, UTC
                    ),
                    metrics=model.metrics or {},
                )
                for name, model in sorted(state.items())
            ]
            self._listed = Models(models=models).model_dump_json().encode()
            self._listed_state = state
        return Answer(self._listed)

    def select(self, wanted: SelectModel) -> Answer:
        """Return a client's selection, in the form of :class:`Selected`, and its cookie.

        Raises:
            ServiceError: 404, there is no such model or version.
        """
        version = None if wanted.version is None else str(wanted.version)
        selection = Selection(wanted.model_name, version)
        used = self._store.check(selection)
        self._store.prefetch(selection)
        selected = Selected(
            model=ModelReference(name=selection.name, version=used),
            value=str(selection),
            cookie=SELECTION_COOKIE,
            header=SELECTION_HEADER,
        )
        # Not Starlette's set_cookie: it would put a value with a slash between quotes, and the
        # cookie's value is to be the one in the body.
        cookie = f"{SELECTION_COOKIE}={selection}; HttpOnly; Path=/; SameSite=Lax"
        return Answer(
            selected.model_dump_json().encode(), ((b"set-cookie", cookie.encode("ascii")),)
        )

    def select_plainly(self, body: bytes) -> Answer | None:
        """Answer a selection on the short way.

        Args:
            body: The request's.

        Returns:
            None if something is wrong with it, which FastAPI then explains.
        """
        try:
            return self.select(SelectModel.model_validate_json(body))
        except (ValidationError, ServiceError):
            return None

    def add_to(self, app: FastAPI) -> None:
        """Declare both routes."""

        @app.get(
            MODELS_PATH,
            tags=["models"],
            summary="List the models in production",
            response_model=Models,
        )
        async def models() -> Response:
            return _respond(self.list_models())

        @app.post(
            SELECT_PATH,
            tags=["models"],
            summary="Choose the model of this client",
            response_model=Selected,
            responses={
                400: json_response("The body is no text", "Sentence"),
                404: json_response("There is no such model or version", "Sentence"),
                422: json_response("Everything that is wrong with the body", "Problems"),
            },
        )
        async def select_model(body: SelectModel) -> Response:
            return _respond(self.select(body))


def _respond(answer: Answer) -> Response:
    response = Response(answer.body, headers={"content-type": "application/json"})
    response.raw_headers.extend(answer.headers)
    return response
