"""How problems are answered: always as JSON, `{"detail": "a sentence"}`."""

import logging
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from covertype_source.batches import GROUP_COUNT
from covertype_source.progress import StateUnavailableError

_LOG = logging.getLogger(__name__)
_LONGEST_ECHO = 40  # characters of a wrong value that are repeated to the client
_PERMITTED = {
    "group_number": f"a whole number from 1 to {GROUP_COUNT}",
    "fraction": "a number above 0 and at most 1",
}


def add_error_handlers(app: FastAPI) -> None:
    """Adds the answer for each kind of problem to an application."""
    app.add_exception_handler(RequestValidationError, _wrong_parameter)
    app.add_exception_handler(StateUnavailableError, _state_unavailable)
    app.add_exception_handler(Exception, _unexpected)


def _problem(status: HTTPStatus, detail: str) -> JSONResponse:
    return JSONResponse({"detail": detail}, status, headers={"Cache-Control": "no-store"})


async def _wrong_parameter(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - what it is registered for
    # The location of an error in the query is ("query", name).
    name = str(error.errors()[0]["loc"][-1])
    given = request.query_params.get(name)
    if given is None:
        found = "it is missing"
    elif len(given) > _LONGEST_ECHO:
        found = f"it is {given[:_LONGEST_ECHO]!r}... ({len(given)} characters)"
    else:
        found = f"it is {given!r}"
    return _problem(HTTPStatus.BAD_REQUEST, f"{name} must be {_PERMITTED[name]}; {found}.")


async def _state_unavailable(request: Request, error: Exception) -> JSONResponse:
    _LOG.error("%s", error)
    return _problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error))


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    # The server logs the traceback: Starlette raises the exception again after this answer.
    return _problem(
        HTTPStatus.INTERNAL_SERVER_ERROR, "An unexpected error; the log of the service has it."
    )
