import fcntl
import multiprocessing
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from covertype_source.batches import BATCH_COUNT
from covertype_source.progress import GroupExhaustedError, GroupProgress, StateUnavailableError
from tests.fakes import BATCH_SECONDS, Clock


@pytest.fixture
def progress(tmp_path: Path, clock: Clock) -> Iterator[GroupProgress]:
    with GroupProgress(tmp_path, BATCH_SECONDS, clock) as progress:
        yield progress


def test_first_batch_begins_with_the_first_call(progress: GroupProgress, clock: Clock) -> None:
    clock.now += 1_000

    batch = progress.current_batch(1)

    assert (batch.number, batch.seconds_left) == (1, BATCH_SECONDS)


def test_same_batch_until_its_time_is_over(progress: GroupProgress, clock: Clock) -> None:
    progress.current_batch(1)
    clock.now += BATCH_SECONDS - 0.25

    batch = progress.current_batch(1)

    assert (batch.number, batch.seconds_left) == (1, 0.25)


def test_waiting_for_the_given_time_is_enough(progress: GroupProgress, clock: Clock) -> None:
    progress.current_batch(1)
    clock.now += 1.7
    clock.now += progress.current_batch(1).seconds_left

    batch = progress.current_batch(1)

    assert (batch.number, batch.seconds_left) == (2, BATCH_SECONDS)


@pytest.mark.parametrize("wait", [BATCH_SECONDS, 3 * BATCH_SECONDS, 1e6])
def test_late_call_moves_on_by_one_batch(
    progress: GroupProgress, clock: Clock, wait: float
) -> None:
    numbers = []
    for _ in range(BATCH_COUNT):
        numbers.append(progress.current_batch(1).number)
        clock.now += wait

    assert numbers == list(range(1, BATCH_COUNT + 1))
    with pytest.raises(GroupExhaustedError):
        progress.current_batch(1)


def exhaust(progress: GroupProgress, clock: Clock, group_number: int) -> None:
    for _ in range(BATCH_COUNT):
        progress.current_batch(group_number)
        clock.now += BATCH_SECONDS


def test_last_batch_lasts_as_long_as_the_others(progress: GroupProgress, clock: Clock) -> None:
    exhaust(progress, clock, 1)
    clock.now -= 0.25

    assert progress.current_batch(1).number == BATCH_COUNT


def test_exhausted_until_restarted(progress: GroupProgress, clock: Clock) -> None:
    exhaust(progress, clock, 1)
    for _ in range(2):
        with pytest.raises(GroupExhaustedError):
            progress.current_batch(1)

    progress.restart(1)

    assert progress.current_batch(1).number == 1


def test_restart_in_the_middle_and_before_the_first_call(
    progress: GroupProgress, clock: Clock
) -> None:
    progress.restart(1)
    progress.current_batch(1)
    clock.now += BATCH_SECONDS
    progress.current_batch(1)

    progress.restart(1)
    clock.now += 1_000

    assert progress.current_batch(1).number == 1


def test_groups_are_independent(progress: GroupProgress, clock: Clock) -> None:
    exhaust(progress, clock, 1)

    assert progress.current_batch(2).number == 1
    progress.restart(2)
    with pytest.raises(GroupExhaustedError):
        progress.current_batch(1)


def test_clock_set_back_delays_by_one_batch_at_most(progress: GroupProgress, clock: Clock) -> None:
    progress.current_batch(1)
    clock.now -= 86_400

    batch = progress.current_batch(1)
    assert (batch.number, batch.seconds_left) == (1, BATCH_SECONDS)

    clock.now += BATCH_SECONDS
    assert progress.current_batch(1).number == 2


def test_state_survives(tmp_path: Path, clock: Clock) -> None:
    with GroupProgress(tmp_path, BATCH_SECONDS, clock) as before:
        before.current_batch(3)
        clock.now += BATCH_SECONDS
        before.current_batch(3)
        clock.now += 1

    with GroupProgress(tmp_path, BATCH_SECONDS, clock) as after:
        batch = after.current_batch(3)

    assert (batch.number, batch.seconds_left) == (2, BATCH_SECONDS - 1)


def test_threads_move_on_once(progress: GroupProgress, clock: Clock) -> None:
    with ThreadPoolExecutor(8) as threads:
        for expected in range(1, BATCH_COUNT + 1):
            batches = list(threads.map(progress.current_batch, [1] * 50))
            assert {batch.number for batch in batches} == {expected}
            clock.now += BATCH_SECONDS


def _slow_clock() -> float:
    """Stands still, and gives another process the time to come between reading and writing."""
    time.sleep(0.001)
    return 0.0


def _calls_of_one_process(
    state_dir: Path, groups: int, both_ready: Barrier, given: "Queue[list[int]]"
) -> None:
    """Makes half of the calls of each group; batches have no duration, so each call moves on."""
    numbers = []
    with GroupProgress(state_dir, 0.0, _slow_clock) as progress:
        for group_number in range(1, groups + 1):
            both_ready.wait()  # else one gets ahead, and they never call for the same group
            for _ in range(BATCH_COUNT // 2):
                numbers.append(progress.current_batch(group_number).number)
    given.put(numbers)


def test_two_processes_share_the_batches_out(tmp_path: Path) -> None:
    # When every call moves on, two processes with half of the calls each must between them get
    # every batch of every group exactly once: a lost update would give one of them twice.
    groups = 40
    spawn = multiprocessing.get_context("spawn")
    both_ready = spawn.Barrier(2, timeout=30)
    given: Queue[list[int]] = spawn.Queue()
    processes = [
        spawn.Process(target=_calls_of_one_process, args=(tmp_path, groups, both_ready, given))
        for _ in range(2)
    ]
    for process in processes:
        process.start()
    counts = Counter(number for _ in processes for number in given.get(timeout=60))
    for process in processes:
        process.join()

    assert counts == dict.fromkeys(range(1, BATCH_COUNT + 1), groups)


def test_processes_open_the_state_one_after_the_other(tmp_path: Path, clock: Clock) -> None:
    # Without it about one in fifty starts of four processes at once ends with "database is locked".
    def open_state() -> None:
        with GroupProgress(tmp_path, BATCH_SECONDS, clock):
            pass

    directory = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(directory, fcntl.LOCK_EX)  # what a process that is opening it holds
    with ThreadPoolExecutor(1) as threads:
        opening = threads.submit(open_state)
        try:
            with pytest.raises(TimeoutError):
                opening.result(timeout=0.2)
            assert list(tmp_path.iterdir()) == []
        finally:
            os.close(directory)
        opening.result(timeout=10)

    assert (tmp_path / "progress.sqlite3").exists()


def test_locked_state_is_reported(progress: GroupProgress, tmp_path: Path) -> None:
    progress._connection.execute("PRAGMA busy_timeout = 50")
    other = sqlite3.connect(tmp_path / "progress.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(StateUnavailableError, match="locked"):
        progress.check_writable()

    other.close()
    progress.check_writable()


def test_unwritable_state_is_reported(progress: GroupProgress) -> None:
    progress._connection.execute("PRAGMA query_only = ON")

    with pytest.raises(StateUnavailableError, match="writable"):
        progress.check_writable()
    with pytest.raises(StateUnavailableError):
        progress.current_batch(1)

    # Nothing stays open or half done.
    progress._connection.execute("PRAGMA query_only = OFF")
    assert progress.current_batch(1).number == 1


def test_damaged_state_is_reported(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "progress.sqlite3").write_text("not a database " * 100)

    with pytest.raises(StateUnavailableError, match=r"progress\.sqlite3"):
        GroupProgress(tmp_path, BATCH_SECONDS, clock)


def test_unusable_directory_is_reported(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StateUnavailableError):
        GroupProgress(tmp_path / "file", BATCH_SECONDS, clock)
