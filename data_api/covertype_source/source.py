"""Hands out batches: the progress of the groups, put together with the rows."""

from dataclasses import dataclass
from random import Random

from covertype_source.batches import batch_rows, draw
from covertype_source.dataset import Dataset
from covertype_source.progress import GroupProgress


@dataclass(frozen=True)
class Answer:
    """What one call gets.

    Attributes:
        body: A `schemas.Batch` as JSON.
        seconds_to_next_batch: How long until a call moves on to the next batch.
    """

    body: bytes
    seconds_to_next_batch: float


class BatchSource:
    """The rows of a data set, handed out to groups batch by batch."""

    def __init__(self, dataset: Dataset, progress: GroupProgress, random: Random) -> None:
        self.dataset = dataset
        self.progress = progress
        self._random = random

    def next_rows(self, group_number: int, fraction: float) -> Answer:
        """Draws rows of the batch that the group is at now.

        Args:
            group_number: The group that calls.
            fraction: How much of the batch to draw, above 0 and at most 1.

        Raises:
            GroupExhaustedError: The group has had all its batches.
            StateUnavailableError: The state cannot be read or written.
        """
        batch = self.progress.current_batch(group_number)
        rows = batch_rows(self.dataset.row_count, batch.number)
        data = self.dataset.json_array(draw(rows, fraction, self._random))
        # Put together by hand: the rows are JSON already, and encoding half a megabyte of strings
        # again would be nearly all the work of a call.
        body = b'{"group_number":%d,"batch_number":%d,"data":%b}' % (
            group_number,
            batch.number,
            data,
        )
        return Answer(body, batch.seconds_left)
