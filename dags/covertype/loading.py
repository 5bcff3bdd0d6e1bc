"""Moving the data from the data API into Postgres."""

import logging
import time
from collections.abc import Callable

from covertype.errors import PipelineError
from covertype.schema import BATCHES
from covertype.source import DataSource
from covertype.store import CovertypeStore, LoadedBatch
from covertype.validation import check_rows

_log = logging.getLogger(__name__)

# An answer may repeat a batch (a call that comes a moment early); more than this many calls mean
# that the data API does not move on.
_MAX_CALLS = 3 * len(BATCHES)


def load(
    source: DataSource,
    store: CovertypeStore,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[int, LoadedBatch]:
    """Fetch each batch once and replace the table's rows by them.

    Safe to run again: a load that was interrupted goes on with the batch that the data API is
    at, since the earlier ones stay staged.

    Args:
        source: The data API.
        store: Where the rows go.
        sleep: Waits the given number of seconds.

    Returns:
        Batch number to what was loaded of it.

    Raises:
        PipelineError: The data could not be loaded whole; the table is as before.
    """
    store.create()
    for _ in range(_MAX_CALLS):
        batch = source.fetch()
        staged = store.stage(batch.number, check_rows(batch.rows))
        _log.info(
            "Batch %d of %d: %d rows staged, %d rejected",
            *(batch.number, BATCHES[-1], staged.rows, staged.rejected),
        )
        if batch.number == BATCHES[-1]:
            loaded = store.publish()
            _log.info(
                "%d rows published, %d rejected",
                sum(part.rows for part in loaded.values()),
                sum(part.rejected for part in loaded.values()),
            )
            return loaded
        sleep(batch.seconds_left)
    raise PipelineError(
        f"The data API gave no batch {BATCHES[-1]} in {_MAX_CALLS} calls: look at its log. The "
        "table is as before."
    )
