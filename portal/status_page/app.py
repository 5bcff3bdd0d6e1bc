"""The page and its status, as an ASGI application."""

import os
from pathlib import Path

import httpx
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from status_page.checks import PATIENCE_SECONDS, Observer
from status_page.description import Description
from status_page.documents import Documents

_HERE = Path(__file__).parent
_INTERVAL_SECONDS = 5.0
_HEADERS = {
    # Everything comes from here; nothing is loaded from elsewhere or framed.
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def make_app(description: Description, observer: Observer, documents: Documents) -> Starlette:
    """Make the application.

    Args:
        description: what the page tells of.
        observer: knows how everything is.
        documents: the documentation.
    """
    templates = Environment(
        loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined
    )

    async def page(_: Request) -> Response:
        text = templates.get_template("page.html").render(
            description=description, status=await observer.status()
        )
        return HTMLResponse(text, headers=_HEADERS)

    async def document(request: Request) -> Response:
        file = documents.find(request.path_params["name"])
        if file is None:
            raise HTTPException(404)
        if file.suffix != ".md":
            return FileResponse(file, headers=_HEADERS)
        text = templates.get_template("document.html").render(
            description=description, document=documents.read(file)
        )
        return HTMLResponse(text, headers=_HEADERS)

    async def status(_: Request) -> Response:
        return JSONResponse((await observer.status()).report(), headers=_HEADERS)

    async def health(_: Request) -> Response:
        return JSONResponse({"well": (await observer.status()).well}, headers=_HEADERS)

    return Starlette(
        routes=[
            Route("/", page),
            Route("/docs/{name:path}", document),
            Route("/status", status),
            Route("/health", health),
            Mount("/static", StaticFiles(directory=_HERE / "static")),
        ],
    )


def from_environment() -> Starlette:
    """Make the application from `DESCRIPTION_FILE`, `DOCUMENTS_FOLDER` and `AIRFLOW_PASSWORD`.

    Raises:
        DescriptionError: the file is missing or incomplete.
        KeyError: a variable is missing.
    """
    description = Description.read(Path(os.environ["DESCRIPTION_FILE"]))
    # The services are on the same network: no proxy is between. A connection that is kept could be
    # closed by its other end just when the next question is sent, which would look like a fault.
    client = httpx.AsyncClient(
        trust_env=False,
        timeout=PATIENCE_SECONDS,
        limits=httpx.Limits(max_keepalive_connections=0),
    )
    observer = Observer(description, os.environ["AIRFLOW_PASSWORD"], client, _INTERVAL_SECONDS)
    documents = Documents(Path(os.environ["DOCUMENTS_FOLDER"]))
    return make_app(description, observer, documents)
