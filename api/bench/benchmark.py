"""What is measured, in one run, on one deployment."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from bench.deployment import BenchmarkError, Deployment, Use
from bench.generator import Load, closed_loop, open_loop
from bench.peers import SERVERS, Peers
from bench.report import MODEL_NOT_IN_MEMORY, MODEL_STANDING_BY

SPLITS = (1, 2, 4)
BATCHES = (1, 10, 100, 1000)
# Clients that wait for their answers keep so many connections busy: each of four replicas has as
# much before it as it can do in one period of the scheduler, as one has. Where more of them share a
# rate, each is met less often, and what belongs to it has left the processors' caches meanwhile.
_CONNECTIONS = 256
_SHARE_FOR_LATENCY = 0.7
# A host that others share can be twice as fast within seconds: the latency at a share of the
# capacity is measured right after that capacity, for a short time and so many times.
_TURNS = 5
_TURN_WARM_UP_SECONDS = 1.0
_SHARE_FOR_CHANGES = 0.5
_OVERLOAD = 2.0
# nginx takes ten thousand, and has fewer requests wait for their answers.
_CONNECTIONS_FOR_OVERLOAD = 9000
# Twice what the whole share can do is more than the host has processors for, which the generator,
# encryption and the network need too: then it would be the host that is overloaded. Of half of it,
# four replicas would each have less than the kernel allows.
_SHARE_FOR_OVERLOAD = 0.5
_SPLITS_FOR_OVERLOAD = (1, 2)
_ALIAS_CHANGES = 10
_PRODUCTION, _PREVIOUS = "production", "previous"
# A version has gone when no replica has answered with it for so long; to load another with an
# eighth of a processor that is half used takes longer than a look at the registry.
_QUIET_SECONDS = 6.0
# In which replicas have seen that a version stands by no more.
_FORGET_SECONDS = 10.0
_SETTLE_SECONDS = 5.0
_OK = 200
# For each of the two operations with a body, and as many that are wrong.
_FUZZED_EXAMPLES = 5000


class Benchmark:
    """One run.

    Args:
        deployment: what is measured.
        rounds: how often each comparison is made.
        seconds: how long each load lasts.
        overload_seconds: how long twice the capacity lasts.
        say: shows progress.
    """

    def __init__(
        self,
        deployment: Deployment,
        rounds: int,
        seconds: float,
        overload_seconds: float,
        say: Callable[[str], None],
    ) -> None:
        self._deployment = deployment
        # The share of all replicas together, as the kernel has it.
        self._cpus = 0.0
        self._memory_bytes = 0
        self._cpu_period = 0
        self._rounds = rounds
        self._seconds = seconds
        self._overload_seconds = overload_seconds
        self._say = say
        self._model = ""
        self._bodies: list[bytes] = []
        self._rows: list[dict[str, Any]] = []

    async def run(self) -> dict[str, Any]:
        """Measure everything; afterwards the platform has as many replicas as before.

        Raises:
            BenchmarkError: the deployment is not as it has to be.
        """
        deployment = self._deployment
        before = await deployment.replicas()
        if not before:
            raise BenchmarkError("No replica runs: `make status` shows why.")
        self._cpus = sum(replica.cpus for replica in before)
        self._memory_bytes = sum(replica.memory_bytes for replica in before)
        self._cpu_period = before[0].cpu_period
        model = await deployment.production()
        self._model = model["name"]
        result: dict[str, Any] = {
            "machine": await deployment.describe(),
            "model": {"name": model["name"], "version": model["version"]},
            "cpus": self._cpus,
            "cpu_period_microseconds": self._cpu_period,
            "memory_bytes": self._memory_bytes,
            "seconds": self._seconds,
            "connections": _CONNECTIONS,
        }
        self._rows = await deployment.rows()
        self._bodies = [json.dumps(row).encode() for row in self._rows]
        peers = Peers(deployment, self._rows)
        try:
            self._say("preparing the peers")
            await peers.prepare()
            result["rounds"] = [await self._round(number, peers) for number in range(self._rounds)]
            await self._scale(1)
            result["batches"] = {str(size): await self._batch(size) for size in BATCHES}
            result["overload"] = {
                str(replicas): await self._overload(replicas) for replicas in _SPLITS_FOR_OVERLOAD
            }
            await self._scale(4)
            result["fuzzing"] = await self._fuzzing()
            result["changes"] = await self._changes(_capacity(result, 4) * _SHARE_FOR_CHANGES)
        finally:
            await peers.remove()
            await deployment.scale(len(before))
        return result

    async def _round(self, number: int, peers: Peers) -> dict[str, Any]:
        measured: dict[str, Any] = {"splits": {}}
        for replicas in SPLITS if number % 2 == 0 else SPLITS[::-1]:
            await self._scale(replicas)
            measured["splits"][str(replicas)] = {
                **await self._split(),
                "peers": {kind: await self._peer(kind, peers) for kind in SERVERS},
            }
            if replicas == 1:
                rows = await peers.bare_loop(self._seconds)
                self._say(f"  bare loop over the model: {rows:,.0f} rows/s")
                measured["bare_loop"] = {"per_second": round(rows, 1)}
        return measured

    async def _scale(self, replicas: int, share: float = 1.0) -> None:
        """Have so many replicas, each with its exact part of a share, as the kernel tells it."""
        cpus = self._cpus * share
        self._say(f"{replicas} x {cpus / replicas:g} processors")
        if share == 1.0:
            await self._deployment.scale(replicas)
        else:
            await self._deployment.deploy(inference_replicas=replicas, inference_cpus=cpus)
        found = await self._deployment.replicas()
        for replica in found:
            limits = (replica.cpus * replicas, replica.memory_bytes * replicas)
            if len(found) != replicas or limits != (cpus, self._memory_bytes):
                raise BenchmarkError(f"These are not {replicas} equal shares: {found}")
        await self._deployment.wait_until_loaded(self._model)
        await asyncio.sleep(_SETTLE_SECONDS)

    async def _split(self) -> dict[str, Any]:
        target = self._deployment.target(self._bodies)
        seconds = self._seconds / _TURNS
        capacities, latencies = [], []
        for _ in range(_TURNS):
            capacity = await closed_loop(target, _CONNECTIONS, seconds, _TURN_WARM_UP_SECONDS)
            self._tell("capacity", capacity)
            at_share = await open_loop(
                target,
                capacity.per_second * _SHARE_FOR_LATENCY,
                asyncio.sleep(seconds),
                warm_up=_TURN_WARM_UP_SECONDS,
                connections=_CONNECTIONS,
            )
            self._tell(f"at {_SHARE_FOR_LATENCY:.0%} of it", at_share)
            capacities.append(capacity)
            latencies.append(at_share)
        return {
            "limits": [asdict(replica) for replica in await self._deployment.replicas()],
            "capacity": Load.of_all(capacities).figures(),
            "at_70_percent": {
                **Load.of_all(latencies).figures(),
                "turns_p99_ms": [round(load.milliseconds(0.99), 2) for load in latencies],
            },
        }

    async def _peer(self, kind: str, peers: Peers) -> dict[str, Any]:
        async with peers.serving(kind) as target:
            load = await closed_loop(target, _CONNECTIONS, self._seconds)
        self._tell(kind, load)
        if set(load.statuses) != {_OK}:
            raise BenchmarkError(f"{kind} does not predict: {dict(load.statuses)}")
        return load.figures()

    async def _batch(self, size: int) -> dict[str, Any]:
        lists = [
            json.dumps(self._rows[begin : begin + size]).encode()
            for begin in range(0, len(self._rows) - size + 1, size)
        ]
        # Two of them at a time: one is on its way while the other is predicted.
        load = await closed_loop(self._deployment.target(lists), 2, self._seconds)
        rows = load.per_second * size
        self._say(f"  lists of {size}: {rows:,.0f} rows/s")
        return {**load.figures(), "rows_per_second": round(rows)}

    async def _overload(self, replicas: int) -> dict[str, Any]:
        await self._scale(replicas, _SHARE_FOR_OVERLOAD)
        target = self._deployment.target(self._bodies)
        capacity = await closed_loop(target, _CONNECTIONS, self._seconds)
        self._tell("capacity", capacity)
        before = await self._deployment.uses()
        rate = capacity.per_second * _OVERLOAD
        load = await open_loop(
            target,
            rate,
            asyncio.sleep(self._overload_seconds),
            # With fewer it would be the connections that hold the excess back.
            connections=_CONNECTIONS_FOR_OVERLOAD,
        )
        self._tell(f"twice the capacity ({rate:,.0f}/s)", load)
        return {
            "limits": [asdict(replica) for replica in await self._deployment.replicas()],
            "capacity": capacity.figures(),
            **load.figures(),
            **_grown(before, await self._deployment.uses()),
        }

    async def _fuzzing(self) -> dict[str, Any]:
        """Requests that nobody thought of; each answer is checked by what sends them."""
        before = await self._deployment.uses()
        statuses = await self._deployment.fuzz(_FUZZED_EXAMPLES)
        self._say(f"  fuzzing: {sum(statuses.values()):,} requests: {statuses}")
        return {"statuses": statuses, **_grown(before, await self._deployment.uses())}

    async def _changes(self, rate: float) -> dict[str, Any]:
        """What clients notice of deaths, of other models, of other numbers and images."""
        deployment = self._deployment
        changes: dict[str, Any] = {}
        for replica in await deployment.replicas():

            async def die(name: str = replica.name) -> None:
                await deployment.kill(name)
                await asyncio.sleep(1)
                await deployment.wait_until_healthy(name)
                await asyncio.sleep(2)

            changes[f"{replica.name} is killed"] = await self._during(rate, die())
        changes |= await self._model_changes(rate)

        async def scale() -> None:
            await deployment.scale(2)
            await deployment.scale(4)

        changes["4, 2 and 4 replicas"] = await self._during(rate, scale())
        changes["another image"] = await self._during(rate, deployment.roll_out_other_image(4))
        return changes

    async def _model_changes(self, rate: float) -> dict[str, Any]:
        """Promotions, each of which leaves the version before it standing by.

        The first is of a version that no replica has in memory.
        """
        deployment = self._deployment
        model = await deployment.production()
        name = model["name"]
        others = [one for one in await deployment.versions(name) if one != model["version"]]
        if not others:
            raise BenchmarkError("There is only one version: `make pipeline` trains another.")
        aliases = await deployment.aliases(name)
        versions = [others[0], model["version"]]
        last_seen = dict.fromkeys(versions, 0.0)
        seconds: list[float] = []
        marks = {version: f'"version":"{version}"'.encode() for version in versions}

        def observe(body: bytes) -> None:
            for version, mark in marks.items():
                if mark in body:
                    last_seen[version] = time.monotonic()

        async def change(count: int) -> None:
            for _ in range(count):
                new, old = versions[len(seconds) % 2], versions[1 - len(seconds) % 2]
                asked = time.monotonic()
                await deployment.set_alias(name, _PRODUCTION, new)
                await deployment.set_alias(name, _PREVIOUS, old)
                # Until no replica has answered with the old version for a while.
                while time.monotonic() - max(last_seen[old], asked) < _QUIET_SECONDS:
                    await asyncio.sleep(0.1)
                seconds.append(round(max(last_seen[old] - asked, 0.0), 2))

        async def measure(what: str, count: int) -> dict[str, Any]:
            before = len(seconds)
            load = await open_loop(
                deployment.target(self._bodies), rate, change(count), observe=observe
            )
            self._tell(what, load)
            self._say(f"    seconds until the last answer of the old one: {seconds[before:]}")
            return {**load.figures(), "seconds_to_change": seconds[before:]}

        try:
            if aliases.get(_PREVIOUS) == versions[0]:
                await deployment.remove_alias(name, _PREVIOUS)
                await asyncio.sleep(_FORGET_SECONDS)
            return {
                MODEL_NOT_IN_MEMORY: await measure(MODEL_NOT_IN_MEMORY, 1),
                MODEL_STANDING_BY: await measure(MODEL_STANDING_BY, _ALIAS_CHANGES),
            }
        finally:
            await deployment.set_alias(name, _PRODUCTION, aliases[_PRODUCTION])
            if _PREVIOUS in aliases:
                await deployment.set_alias(name, _PREVIOUS, aliases[_PREVIOUS])
            else:
                await deployment.remove_alias(name, _PREVIOUS)

    async def _during(self, rate: float, work: Any) -> dict[str, Any]:
        load = await open_loop(self._deployment.target(self._bodies), rate, work)
        self._tell("while that happens", load)
        return load.figures()

    def _tell(self, what: str, load: Load) -> None:
        statuses = ", ".join(f"{count} x {status}" for status, count in load.statuses.items())
        failures = ", ".join(f"{count} {reason}" for reason, count in load.failures.items())
        self._say(
            f"  {what}: {load.per_second:,.0f}/s, p99 {load.milliseconds(0.99):.1f} ms, "
            f"slowest {load.slowest_milliseconds():.0f} ms ({statuses or 'nothing'}"
            f"{'; ' + failures if failures else ''})"
        )


def _capacity(result: dict[str, Any], replicas: int) -> float:
    rates = [one["splits"][str(replicas)]["capacity"]["per_second"] for one in result["rounds"]]
    return float(sum(rates) / len(rates))


def _grown(before: dict[str, Use], after: dict[str, Use]) -> dict[str, Any]:
    """What a load did to the replicas, all together."""
    return {
        "memory_bytes": {
            "before": sum(use.memory_bytes for use in before.values()),
            "after": sum(use.memory_bytes for use in after.values()),
        },
        "restarts": sum(use.restarts for use in after.values())
        - sum(use.restarts for use in before.values()),
    }
