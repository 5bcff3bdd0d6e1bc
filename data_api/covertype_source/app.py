"""The HTTP service."""

import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from random import Random
from typing import Annotated, cast

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi_offline import FastAPIOffline

from covertype_source.batches import BATCH_COUNT, DEFAULT_FRACTION, GROUP_COUNT
from covertype_source.covertype import COLUMNS
from covertype_source.dataset import Dataset
from covertype_source.errors import add_error_handlers
from covertype_source.progress import GroupExhaustedError, GroupProgress
from covertype_source.schemas import Batch, Liveness, Message, Overview, Problem, Readiness
from covertype_source.settings import Settings
from covertype_source.source import BatchSource

SECONDS_TO_NEXT_BATCH_HEADER = "X-Seconds-To-Next-Batch"

_TITLE = "Covertype data source"
_DESCRIPTION = f"""
Stands for an outside source of data: it hands out the rows of Covertype in {BATCH_COUNT} batches.

* Each of the {GROUP_COUNT} groups goes through the batches on its own, from 1 to {BATCH_COUNT}.
* A batch lasts some seconds from the call that began it. A call within that time gets another
  random tenth of the same batch; a later one moves on by one batch, never more.
* `fraction` asks for another part of the batch than a tenth; 1 gives all of its rows.
* After the last batch, `/restart_data_generation` starts the group again.

The data: copyright Jock A. Blackard and Colorado State University.
"""

router = APIRouter(
    # "default" stands for every status that is not listed; with it FastAPI does not list 422,
    # which is never answered.
    responses={"default": {"model": Problem, "description": "Any other problem"}},
)


def _source_of(request: Request) -> BatchSource:
    return cast(BatchSource, request.app.state.source)


Source = Annotated[BatchSource, Depends(_source_of)]
GroupNumber = Annotated[int, Query(ge=1, le=GROUP_COUNT, description="The group that calls.")]
Fraction = Annotated[
    float,
    Query(gt=0, le=1, description="How much of the batch to give; the rows are drawn at random."),
]


@router.get(
    "/data",
    response_model=Batch,
    tags=["data"],
    responses={
        200: {
            "headers": {
                SECONDS_TO_NEXT_BATCH_HEADER: {
                    "description": "How long until a call moves on to the next batch.",
                    "schema": {"type": "number", "minimum": 0},
                }
            }
        },
        400: {
            "model": Problem,
            "description": "Wrong group number or fraction, or all batches were handed out",
        },
    },
)
def get_data(
    group_number: GroupNumber, source: Source, fraction: Fraction = DEFAULT_FRACTION
) -> Response:
    """Gives a random part of the rows of the group's current batch, by default a tenth."""
    try:
        answer = source.next_rows(group_number, fraction)
    except GroupExhaustedError as error:
        raise HTTPException(
            HTTPStatus.BAD_REQUEST,
            f"Group {group_number} has had all {BATCH_COUNT} batches. Start it again with"
            f" GET /restart_data_generation?group_number={group_number}",
        ) from error
    # Rounded up, so that a client that waits exactly this long is never too early.
    milliseconds = math.ceil(answer.seconds_to_next_batch * 1000)
    return Response(
        answer.body,
        media_type="application/json",
        headers={
            # The same address gives something else each time.
            "Cache-Control": "no-store",
            SECONDS_TO_NEXT_BATCH_HEADER: f"{milliseconds / 1000:.3f}",
        },
    )


@router.get(
    "/restart_data_generation",
    tags=["data"],
    responses={
        400: {"model": Problem, "description": "Wrong group number"},
    },
)
def restart_data_generation(
    group_number: GroupNumber, source: Source, response: Response
) -> Message:
    """Starts the group again: its next call begins batch 1."""
    source.progress.restart(group_number)
    # A GET, as the clients of this source know it; a cached answer would restart nothing.
    response.headers["Cache-Control"] = "no-store"
    return Message(message=f"Group {group_number} starts again with batch 1 at its next call.")


@router.get("/health/live", tags=["health"])
async def live() -> Liveness:
    """Says that the process answers."""
    return Liveness()


@router.get(
    "/health/ready",
    tags=["health"],
    responses={
        503: {"model": Problem, "description": "The state cannot be written"},
    },
)
def ready(source: Source) -> Readiness:
    """Says that batches can be handed out: the data is open and the state can be written."""
    source.progress.check_writable()
    return Readiness(rows=source.dataset.row_count)


@router.get("/", tags=["overview"])
async def overview() -> Overview:
    """Says what there is."""
    return Overview(
        service=_TITLE,
        columns=list(COLUMNS),
        endpoints={
            "/data?group_number=1": "rows of the current batch of a group",
            "/restart_data_generation?group_number=1": "starts a group again",
            "/health/live": "whether the process answers",
            "/health/ready": "whether batches can be handed out",
            "/docs": "this interface, to read and to try",
        },
    )


def create_app(
    settings: Settings,
    *,
    clock: Callable[[], float] = time.time,
) -> FastAPI:
    """Makes the service.

    Data set and state are opened when it starts, not here: a server may make it in one process
    and run it in another.

    Args:
        settings: Where the data and the state are.
        clock: Gives the Unix time in seconds.

    Returns:
        The application. It does not start (`DatasetError`, `StateUnavailableError`) when the data
        set or the state cannot be used.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with (
            Dataset(settings.data_dir) as dataset,
            GroupProgress(settings.state_dir, settings.batch_seconds, clock) as progress,
        ):
            # Not for secrets: any generator that spreads evenly will do.
            app.state.source = BatchSource(dataset, progress, Random())  # noqa: S311
            yield

    # The pages of /docs come with their scripts, so that they work in a closed network.
    app = FastAPIOffline(
        title=_TITLE, description=_DESCRIPTION, version="1", redoc_url=None, lifespan=lifespan
    )
    app.include_router(router)
    add_error_handlers(app)
    return app
