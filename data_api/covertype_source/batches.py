"""Which rows belong to which batch, and the draw from a batch.

The rows are cut, in the order of the file, into `BATCH_COUNT` contiguous slices whose sizes differ
by at most one. A call gets a fraction of the current batch's slice, drawn without replacement. By
default this is a tenth: of the 581,012 rows of Covertype 5,810 a call, so that one call in each
batch brings 58,100.
"""

from random import Random

GROUP_COUNT = 10
BATCH_COUNT = 10
DEFAULT_FRACTION = 0.1


def batch_rows(row_count: int, batch_number: int) -> range:
    """Gives the positions of the rows of a batch.

    Args:
        row_count: The number of rows of the whole data set.
        batch_number: From 1 to `BATCH_COUNT`.

    Raises:
        ValueError: There is no such batch.
    """
    if batch_number not in range(1, BATCH_COUNT + 1):
        raise ValueError(f"batch_number must be 1 to {BATCH_COUNT}, not {batch_number}")
    return range(
        row_count * (batch_number - 1) // BATCH_COUNT, row_count * batch_number // BATCH_COUNT
    )


def draw(rows: range, fraction: float, random: Random) -> list[int]:
    """Draws a fraction of the rows, each at most once, in random order.

    Args:
        rows: What to draw from.
        fraction: How much of it, above 0 and at most 1; the number of rows is rounded down.
        random: Draws them.
    """
    # The small part is for products such as 100 * 0.29, which is 28.999999999999996.
    return random.sample(rows, int(len(rows) * fraction + 1e-6))
