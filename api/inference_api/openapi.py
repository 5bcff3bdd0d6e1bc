"""The OpenAPI document: FastAPI's own, and ``/predict`` as the model in use wants it."""

from typing import Any

from inference_api.model import LoadedModel
from inference_api.predict import PATH, SELECTION_COOKIE, SELECTION_HEADER
from inference_api.schema import row_json_schema

_PROBLEMS = {
    "type": "object",
    "required": ["detail"],
    "properties": {
        "detail": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["loc", "msg", "type"],
                "properties": {
                    "loc": {"type": "array", "items": {"type": ["string", "integer"]}},
                    "msg": {"type": "string"},
                    "type": {"type": "string"},
                },
            },
        }
    },
}
_SENTENCE = {
    "type": "object",
    "required": ["detail"],
    "properties": {"detail": {"type": "string"}},
}


def add_predict(document: dict[str, Any], model: LoadedModel | None, max_rows: int) -> None:
    """Add ``/predict`` to an OpenAPI document.

    Args:
        document: The document, which is changed.
        model: The model in use by default; None: rows are objects of any kind.
        max_rows: The longest list that is accepted.
    """
    if model is None:
        row: dict[str, Any] = {"type": "object", "description": "There is no model yet."}
        label: dict[str, Any] = {"type": "object"}
    else:
        row = row_json_schema(model.schema)
        label = {
            "type": "object",
            "required": ["class_number", "class_name"],
            "properties": {
                "class_number": {
                    "type": "integer",
                    "enum": [label.number for label in model.schema.classes],
                },
                "class_name": {
                    "type": "string",
                    "enum": [label.name for label in model.schema.classes],
                },
            },
        }
    components = document.setdefault("components", {}).setdefault("schemas", {})
    components.update(
        {
            "Row": row,
            "Problems": _PROBLEMS,
            "Sentence": _SENTENCE,
            "Predictions": {
                "type": "object",
                "required": ["predictions", "model"],
                "properties": {
                    "predictions": {"type": "array", "items": label},
                    "model": {
                        "type": "object",
                        "required": ["name", "version"],
                        "properties": {
                            "name": {"type": "string"},
                            "version": {"type": "string"},
                        },
                    },
                },
            },
        }
    )
    rows = {"type": "array", "items": _ref("Row"), "minItems": 1, "maxItems": max_rows}
    selection = {"required": False, "schema": {"type": "string"}}
    document["paths"][PATH] = {
        "post": {
            "summary": "Predict the class of one row or of a list of rows",
            "operationId": "predict",
            "tags": ["predictions"],
            "parameters": [
                {
                    "name": SELECTION_HEADER,
                    "in": "header",
                    "description": "What /select-model returned as value; goes before the cookie.",
                    **selection,
                },
                {
                    "name": SELECTION_COOKIE,
                    "in": "cookie",
                    "description": "Set by /select-model.",
                    **selection,
                },
            ],
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": {"oneOf": [_ref("Row"), rows]}}},
            },
            "responses": {
                "200": json_response("The class of each row, in their order", "Predictions"),
                "404": json_response("The selected model or version does not exist", "Sentence"),
                "413": json_response("The body or the list is too large", "Sentence"),
                "422": json_response("Everything that is wrong with the body", "Problems"),
                "503": json_response(
                    "There is no model (yet), or too much to do: see Retry-After", "Sentence"
                ),
            },
        }
    }


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def json_response(description: str, schema: str) -> dict[str, Any]:
    """Describe an answer.

    Args:
        description: What it means.
        schema: Name of a component that :func:`add_predict` adds.
    """
    return {"description": description, "content": {"application/json": {"schema": _ref(schema)}}}
