"""Reads what the inference API answers; what is not as its contract says is a failure."""

from typing import Annotated, TypeVar

import msgspec

_Text = Annotated[str, msgspec.Meta(min_length=1)]
_Form = TypeVar("_Form")


class WrongAnswerError(Exception):
    """An answer with status 200 that is not what was asked for.

    The sentence has nothing in it that differs from request to request: Locust counts each
    sentence once.
    """


class ModelReference(msgspec.Struct, frozen=True):
    """A version of a model."""

    name: _Text
    version: _Text


class Models(msgspec.Struct, frozen=True):
    """Answer of `GET /models`."""

    models: tuple[ModelReference, ...]


class Selected(msgspec.Struct, frozen=True):
    """Answer of `POST /select-model`."""

    model: ModelReference
    value: _Text
    cookie: _Text
    header: _Text


class Label(msgspec.Struct, frozen=True):
    """The class of a row."""

    class_number: Annotated[int, msgspec.Meta(ge=0)]
    class_name: _Text


class Predictions(msgspec.Struct, frozen=True):
    """Answer of `POST /predict`."""

    predictions: tuple[Label, ...]
    model: ModelReference


class Answers:
    """Checks answers about one model.

    Args:
        model_name: The model that clients ask for.
    """

    def __init__(self, model_name: str) -> None:
        self._model_name = model_name

    def check_models(self, body: bytes) -> None:
        """Check the list of models.

        Raises:
            WrongAnswerError: It has another form, or the model is not in it.
        """
        listed = _read(body, Models).models
        if self._model_name not in [model.name for model in listed]:
            raise WrongAnswerError("the model is not listed")

    def check_selected(self, body: bytes) -> Selected:
        """Check the answer to a selection, and give it.

        Raises:
            WrongAnswerError: It has another form, or names another model.
        """
        selected = _read(body, Selected)
        self._check_model(selected.model)
        return selected

    def check_prediction(self, body: bytes) -> None:
        """Check the prediction for one row.

        Raises:
            WrongAnswerError: It has another form, another number of classes than one, or comes
                from another model.
        """
        answer = _read(body, Predictions)
        if len(answer.predictions) != 1:
            raise WrongAnswerError("not one prediction for one row")
        self._check_model(answer.model)

    def _check_model(self, model: ModelReference) -> None:
        if model.name != self._model_name:
            raise WrongAnswerError("another model than the selected one answered")


def _read(body: bytes, form: type[_Form]) -> _Form:
    try:
        return msgspec.json.decode(body, type=form)
    except msgspec.DecodeError as error:
        raise WrongAnswerError(f"no {form.__name__}: {error}") from error
