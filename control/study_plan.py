"""What the scaling study measures: set-ups, loads, repetitions, and their order."""

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

CLOSED, OPEN = "closed", "open"

BUDGET = "budget"
LONG_PERIOD = "long-period"
LIMITED_GENERATOR = "limited-generator"

# The published study, which limited what made the load, gave its processes this share in all.
_GENERATOR_CPUS = 0.5
# More than a replica, which is one thread, can use: no limit at all.
_UNLIMITED_CPUS_PER_REPLICA = 2.0
_LONG_PERIOD_US = 100_000


@dataclass(frozen=True)
class Setup:
    """How the platform and the clients are deployed for some points.

    Attributes:
        name: what it is for: the budget cut into replicas, the same with a long scheduler's
            period, or limits on the generator in place of the API.
        replicas: the number of replicas.
        platform_variables: what takes the place of Ansible's group variables of the platform.
        load_variables: the same for the machine that makes the load.
    """

    name: str
    replicas: int
    platform_variables: Mapping[str, Any] = field(default_factory=dict)
    load_variables: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Point:
    """One measurement.

    Attributes:
        setup: the name of its set-up.
        replicas: of its set-up.
        kind: `closed`, clients that wait for their answers, or `open`, requests at a fixed rate.
        load: the number of clients, or requests in a second.
        repetition: which measurement of the same it is, from 1.
    """

    setup: str
    replicas: int
    kind: str
    load: int
    repetition: int

    @property
    def name(self) -> str:
        """The name of its files."""
        return f"{self.setup}-{self.replicas}x-{self.kind}-{self.load:05d}-{self.repetition}"

    def __str__(self) -> str:
        """Say it to a person."""
        what = (
            f"{self.load} clients" if self.kind == CLOSED else f"{self.load} requests in a second"
        )
        return f"{self.setup}, {self.replicas} replicas: {what}, repetition {self.repetition}"


@dataclass(frozen=True)
class Loads:
    """What is measured on the set-ups of one name.

    Attributes:
        setup: their name.
        replicas: their numbers of replicas.
        closed: numbers of clients.
        open: requests in a second.
        repetitions: how often each is measured.
    """

    setup: str
    replicas: tuple[int, ...]
    closed: tuple[int, ...]
    open: tuple[int, ...]
    repetitions: int


@dataclass(frozen=True)
class Plan:
    """A whole study.

    Attributes:
        loads: what is measured.
        closed_seconds: how long a point with clients counts.
        open_seconds: how long one with a fixed rate counts.
        warm_up_seconds: how long a fixed rate is sent before that.
        seed: what the order is drawn with.
    """

    loads: tuple[Loads, ...]
    closed_seconds: int
    open_seconds: int
    warm_up_seconds: int
    seed: int

    def points(self) -> list[Point]:
        """All points in the order in which they are measured.

        One repetition of everything comes after the other, so that what changes in the course of
        the study hits all alike; in each, set-ups come in random order (to change one takes as long
        as to measure some points), and so do the loads of a set-up.
        """
        order = random.Random(self.seed)  # noqa: S311 - an order is no secret
        points: list[Point] = []
        for repetition in range(1, max(loads.repetitions for loads in self.loads) + 1):
            setups = [
                (loads, replicas)
                for loads in self.loads
                if repetition <= loads.repetitions
                for replicas in loads.replicas
            ]
            order.shuffle(setups)
            for loads, replicas in setups:
                kinds = [(CLOSED, users) for users in loads.closed]
                kinds += [(OPEN, rate) for rate in loads.open]
                order.shuffle(kinds)
                points += [
                    Point(loads.setup, replicas, kind, load, repetition) for kind, load in kinds
                ]
        return points

    def description(self) -> dict[str, Any]:
        """All of it, to be kept beside the results."""
        return asdict(self)


def setup_of(point: Point, generator_processes: int) -> Setup:
    """The set-up that a point needs.

    Args:
        point: the point.
        generator_processes: how many processes make the load.
    """
    replicas = {"inference_replicas": point.replicas}
    if point.setup == LONG_PERIOD:
        period = {"inference_cpu_period": _LONG_PERIOD_US}
        return Setup(point.setup, point.replicas, replicas | period)
    if point.setup == LIMITED_GENERATOR:
        unlimited = {"inference_cpus": _UNLIMITED_CPUS_PER_REPLICA * point.replicas}
        limited = {"locust_cpus": _GENERATOR_CPUS / generator_processes}
        return Setup(point.setup, point.replicas, replicas | unlimited, limited)
    return Setup(point.setup, point.replicas, replicas)


WHOLE = Plan(
    loads=(
        Loads(
            BUDGET,
            replicas=(1, 2, 4),
            closed=(100, 500, 1000, 2500, 5000, 10_000),
            open=(1000, 2000, 4000, 8000),
            repetitions=3,
        ),
        Loads(LONG_PERIOD, replicas=(1, 2, 4), closed=(500,), open=(1000, 2000), repetitions=2),
        Loads(LIMITED_GENERATOR, replicas=(1, 2, 4), closed=(2500,), open=(), repetitions=2),
    ),
    closed_seconds=12,
    open_seconds=10,
    warm_up_seconds=3,
    seed=6,
)

# Shows that the machinery works: one of each, as short as can be, with a split quickly made.
SHORT = Plan(
    loads=(
        Loads(BUDGET, replicas=(1,), closed=(20,), open=(50,), repetitions=1),
        Loads(LIMITED_GENERATOR, replicas=(1,), closed=(20,), open=(), repetitions=1),
    ),
    closed_seconds=5,
    open_seconds=3,
    warm_up_seconds=1,
    seed=6,
)
