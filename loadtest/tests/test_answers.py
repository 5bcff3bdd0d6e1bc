import json
from typing import Any

import pytest

from load_test.answers import Answers, WrongAnswerError
from tests.conftest import MODELS, PREDICTED, SELECTED

ANSWERS = Answers("modelo1")
OTHER = {"name": "modelo2", "version": "3"}


def test_right_answers_pass() -> None:
    ANSWERS.check_models(json.dumps(MODELS).encode())
    ANSWERS.check_selected(json.dumps(SELECTED).encode())
    ANSWERS.check_prediction(json.dumps(PREDICTED).encode())


@pytest.mark.parametrize("body", [{}, {"models": []}, {"models": [OTHER]}, {"models": [{}]}])
def test_wrong_models(body: Any) -> None:
    with pytest.raises(WrongAnswerError):
        ANSWERS.check_models(json.dumps(body).encode())


@pytest.mark.parametrize("change", [{"model": OTHER}, {"value": ""}, {"cookie": None}])
def test_wrong_selections(change: Any) -> None:
    with pytest.raises(WrongAnswerError):
        ANSWERS.check_selected(json.dumps(SELECTED | change).encode())


@pytest.mark.parametrize(
    "change",
    [
        {"model": OTHER},
        {"model": None},
        {"predictions": []},
        {"predictions": PREDICTED["predictions"] * 2},  # type: ignore[operator]
        {"predictions": [{"class_number": "1", "class_name": "Aspen"}]},
        {"predictions": [{"class_number": -1, "class_name": "Aspen"}]},
        {"predictions": [{"class_number": 1, "class_name": ""}]},
    ],
)
def test_wrong_predictions(change: Any) -> None:
    with pytest.raises(WrongAnswerError):
        ANSWERS.check_prediction(json.dumps(PREDICTED | change).encode())


@pytest.mark.parametrize("body", [b"", b"no json", b"<html>", b"[]"])
def test_other_bodies(body: bytes) -> None:
    for check in (ANSWERS.check_models, ANSWERS.check_selected, ANSWERS.check_prediction):
        with pytest.raises(WrongAnswerError):
            check(body)
