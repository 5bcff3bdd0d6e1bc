"""Two threads share a processor for as long as it is asked for."""

import os
import threading

import pytest

from inference_api.cpu import on_one_cpu


def test_both_threads_are_on_one_processor_and_then_as_before() -> None:
    ended = threading.Event()
    other = threading.Thread(target=ended.wait)
    other.start()
    thread = other.native_id
    assert thread is not None
    try:
        before = os.sched_getaffinity(0)
        with pytest.raises(KeyError), on_one_cpu(thread):
            assert len(os.sched_getaffinity(0)) == 1
            assert os.sched_getaffinity(0) == os.sched_getaffinity(thread)
            raise KeyError
        assert os.sched_getaffinity(0) == os.sched_getaffinity(thread) == before
    finally:
        ended.set()
        other.join()
