import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from bench.generator import Load, Target, closed_loop, open_loop

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
REFUSED = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"


@asynccontextmanager
async def server(
    reply: Callable[[int], bytes | None],
    delay: float = 0.0,
    seen: Counter[tuple[str, int]] | None = None,
) -> AsyncIterator[Target]:
    """A server that answers its nth request with `reply(n)`, or hangs up where that is None.

    It counts in `seen` the requests of each connection.
    """
    count = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"POST /predict HTTP/1.1\r\n")
                assert await reader.readexactly(2) == b"[]"
                answer = reply(count)
                count += 1
                if seen is not None:
                    seen[writer.get_extra_info("peername")] += 1
                if answer is None:
                    return
                await asyncio.sleep(delay)
                # In two parts, as a network may deliver it.
                writer.write(answer[:20])
                await writer.drain()
                writer.write(answer[20:])
                if b"Connection: close" in answer:
                    # So late that a client that does not heed it has sent its next request.
                    await asyncio.sleep(0.05)
                    return
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        yield Target.posting("127.0.0.1", port, "/predict", [b"[]"])


def test_closed_loop_has_one_request_on_each_connection() -> None:
    async def measure() -> Load:
        async with server(lambda _: OK, delay=0.05) as target:
            return await closed_loop(target, connections=4, seconds=1.0, warm_up=0.1)

    load = asyncio.run(measure())
    # Four connections with at most 20 requests a second each; fewer on a busy machine.
    assert 20 <= load.statuses[200] <= 80
    assert load.failed == 0
    assert load.milliseconds(0.5) >= 50
    assert load.per_second == pytest.approx(load.statuses[200] / load.seconds)


def test_loads_one_after_the_other_count_together() -> None:
    first = Load(
        2.0, 3, Counter({200: 2}), Counter({"connection lost": 1}), [0.1, 0.2], latest=0.01
    )
    second = Load(1.0, 2, Counter({200: 1, 503: 1}), Counter(), [0.3], [0.4])
    both = Load.of_all([first, second])
    assert (both.per_second, both.due, both.failed) == (1.0, 5, 2)
    assert both.milliseconds(1.0) == pytest.approx(300)
    assert (both.slowest_milliseconds(), both.latest) == (400, 0.01)
    assert len(first.latencies) == 2


def test_open_loop_keeps_its_rate() -> None:
    async def measure() -> Load:
        async with server(lambda _: OK) as target:
            return await open_loop(target, 200.0, asyncio.sleep(2.0), warm_up=0.1)

    load = asyncio.run(measure())
    assert load.due == pytest.approx(400, rel=0.25)
    assert load.statuses[200] == load.due


def test_open_loop_does_not_wait_for_a_slow_server() -> None:
    async def measure() -> Load:
        async with server(lambda _: OK, delay=0.3) as target:
            return await open_loop(target, 100.0, asyncio.sleep(1.0), warm_up=0.0)

    load = asyncio.run(measure())
    assert load.due == pytest.approx(100, rel=0.4)
    assert load.statuses[200] == load.due
    assert load.milliseconds(0.01) >= 300


def test_requests_wait_where_connections_are_too_few_and_their_waiting_counts() -> None:
    async def measure() -> Load:
        async with server(lambda _: OK, delay=0.1) as target:
            # They answer 30 a second at most.
            return await open_loop(target, 90.0, asyncio.sleep(1.0), warm_up=0.0, connections=3)

    load = asyncio.run(measure())
    assert load.due == pytest.approx(90, rel=0.4)
    assert load.statuses[200] == load.due
    assert load.milliseconds(0.9) >= 800


def test_no_connection_of_an_open_loop_is_left_idle() -> None:
    seen: Counter[tuple[str, int]] = Counter()

    async def measure() -> Load:
        async with server(lambda _: OK, seen=seen) as target:
            return await open_loop(target, 100.0, asyncio.sleep(1.0), warm_up=0.0, connections=5)

    load = asyncio.run(measure())
    assert load.due > 50
    assert len(seen) == 5
    assert max(seen.values()) - min(seen.values()) <= 10


def test_what_is_refused_and_what_is_lost_are_counted_apart() -> None:
    async def measure() -> Load:
        answers = {1: REFUSED, 2: None}
        async with server(lambda number: answers.get(number % 10, OK)) as target:
            return await closed_loop(target, connections=1, seconds=0.5, warm_up=0.0)

    load = asyncio.run(measure())
    assert load.statuses[503] >= 1
    assert load.failures["connection closed"] >= 1
    assert load.failed == load.statuses[503] + sum(load.failures.values())
    assert len(load.refusal_latencies) == load.statuses[503]
    assert load.due == load.statuses[200] + load.failed


def test_a_connection_is_not_used_after_its_last_answer() -> None:
    last = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"

    async def measure() -> Load:
        async with server(lambda number: last if number % 3 else OK) as target:
            return await open_loop(target, 300.0, asyncio.sleep(1.0), connections=5, warm_up=0.0)

    load = asyncio.run(measure())
    assert load.due > 200
    assert load.statuses[200] == load.due
    assert not load.failures


def test_answers_can_be_looked_at() -> None:
    seen: set[bytes] = set()

    async def measure() -> None:
        async with server(lambda _: OK) as target:
            await open_loop(target, 100.0, asyncio.sleep(0.3), observe=seen.add, warm_up=0.0)

    asyncio.run(measure())
    assert seen == {b"{}"}


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, 0)


def may_go_first() -> bool:
    before = niceness()
    try:
        os.setpriority(os.PRIO_PROCESS, 0, before - 1)
    except PermissionError:
        return False
    os.setpriority(os.PRIO_PROCESS, 0, before)
    return True


def test_only_a_load_goes_before_what_is_started_beside_it() -> None:
    during: list[int] = []

    async def work() -> None:
        during.append(niceness())

    async def measure() -> None:
        async with server(lambda _: OK) as target:
            await open_loop(target, 10.0, work(), warm_up=0.0, connections=1)

    before = niceness()
    asyncio.run(measure())
    assert (during[0] < before) is may_go_first()
    assert niceness() == before
