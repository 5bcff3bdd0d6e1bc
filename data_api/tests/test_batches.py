from itertools import pairwise
from random import Random

import pytest

from covertype_source.batches import BATCH_COUNT, DEFAULT_FRACTION, batch_rows, draw

COVERTYPE_ROW_COUNT = 581_012


@pytest.fixture
def random() -> Random:
    return Random(1)  # noqa: S311 (draws that are the same in each run)


@pytest.mark.parametrize("row_count", [COVERTYPE_ROW_COUNT, 1_007, 100, 9, 0])
def test_batches_cut_the_rows_into_contiguous_parts_of_nearly_one_size(row_count: int) -> None:
    batches = [batch_rows(row_count, number) for number in range(1, BATCH_COUNT + 1)]

    assert batches[0].start == 0
    assert batches[-1].stop == row_count
    assert all(before.stop == after.start for before, after in pairwise(batches))
    sizes = [len(batch) for batch in batches]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("batch_number", [0, BATCH_COUNT + 1, -1])
def test_there_is_no_other_batch(batch_number: int) -> None:
    with pytest.raises(ValueError, match="1 to 10"):
        batch_rows(1_000, batch_number)


@pytest.mark.parametrize("batch_number", range(1, BATCH_COUNT + 1))
def test_a_draw_of_covertype_has_5810_different_rows_of_its_batch(
    batch_number: int, random: Random
) -> None:
    rows = batch_rows(COVERTYPE_ROW_COUNT, batch_number)

    drawn = draw(rows, DEFAULT_FRACTION, random)

    assert len(drawn) == len(set(drawn)) == 5_810
    assert set(drawn) <= set(rows)
    # From all over the batch: each tenth of it has about a tenth of the drawn rows.
    tenths = [(position - rows.start) * 10 // len(rows) for position in drawn]
    assert all(450 < tenths.count(tenth) < 720 for tenth in range(10))


@pytest.mark.parametrize(
    ("row_count", "fraction", "drawn"),
    [(100, 1.0, 100), (100, 0.29, 29), (101, 0.5, 50), (10, 0.01, 0), (0, 1.0, 0)],
)
def test_a_fraction_is_rounded_down(
    row_count: int, fraction: float, drawn: int, random: Random
) -> None:
    rows = draw(range(row_count), fraction, random)

    assert len(rows) == len(set(rows)) == drawn


def test_draws_differ(random: Random) -> None:
    assert set(draw(range(1_000), 0.1, random)) != set(draw(range(1_000), 0.1, random))
