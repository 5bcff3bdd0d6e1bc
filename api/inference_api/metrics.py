"""What Prometheus can ask a replica.

Requests are counted in plain integers by the event loop's thread and turned into metrics only
when they are asked for: 0.2 us a request, where prometheus-client's counter and
histogram with their locks take 1.8 us (measured).
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Protocol

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from inference_api.cgroup import find_cpu_stat, read_throttling
from inference_api.model import Identity

_BUCKETS = (
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip


class RouteStatistics:
    """Counts one route's requests. It is used by the event loop's thread alone."""

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {}
        self.buckets = [0] * (len(_BUCKETS) + 1)
        self.seconds = 0.0

    def observe(self, status: int, seconds: float) -> None:
        """Count a request.

        Args:
            status: HTTP status of the answer.
            seconds: From the request's head to the answer.
        """
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.buckets[bisect_left(_BUCKETS, seconds)] += 1
        self.seconds += seconds


class LoadStatistics:
    """Counts loads of models. It is written by the store's thread alone."""

    def __init__(self) -> None:
        self.failures: dict[str, int] = {}
        self.loads = 0
        self.seconds = 0.0
        self.last_seconds = 0.0

    def loaded(self, seconds: float) -> None:
        """Count a version that was loaded and warmed up in ``seconds``."""
        self.loads += 1
        self.seconds += seconds
        self.last_seconds = seconds

    def failed(self, reason: str) -> None:
        """Count a version that was not loaded, by a short word for why."""
        self.failures[reason] = self.failures.get(reason, 0) + 1


class StoreState(Protocol):
    """What the metrics tell of the model store."""

    registry_reachable: bool
    loads: LoadStatistics

    def loaded_identities(self) -> Iterable[tuple[Identity, bool]]:
        """Return the versions in memory, and whether each is the default model's."""


class Metrics:
    """The metrics of one replica.

    Args:
        store: The model store they tell of.
        routes: The routes that are told apart; all others are counted together.
    """

    def __init__(self, store: StoreState, routes: Iterable[str]) -> None:
        self._routes = {route: RouteStatistics() for route in routes}
        self._other = RouteStatistics()
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(_RequestCollector({**self._routes, "other": self._other}))
        self._registry.register(_ModelCollector(store))
        self._registry.register(_ThrottlingCollector())

    def route(self, path: str) -> RouteStatistics:
        """Return what counts a path's requests."""
        return self._routes.get(path, self._other)

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self._registry)


class _RequestCollector(Collector):
    def __init__(self, routes: dict[str, RouteStatistics]) -> None:
        self._routes = routes

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "inference_requests", "Answered requests.", labels=["route", "status"]
        )
        duration = HistogramMetricFamily(
            "inference_request_duration_seconds",
            "Time from a request's head to its answer, inside the replica.",
            labels=["route"],
        )
        for route, statistics in self._routes.items():
            for status, count in sorted(statistics.statuses.items()):
                requests.add_metric([route, str(status)], count)
            if statistics.statuses:
                duration.add_metric([route], _cumulate(statistics.buckets), statistics.seconds)
        yield requests
        yield duration


class _ModelCollector(Collector):
    def __init__(self, store: StoreState) -> None:
        self._store = store

    def collect(self) -> Iterator[Metric]:
        info = GaugeMetricFamily(
            "inference_model_info",
            "1 for each version in memory; default tells whether it answers by default.",
            labels=["name", "version", "default"],
        )
        for identity, default in self._store.loaded_identities():
            info.add_metric([identity.name, identity.version, str(default).lower()], 1)
        yield info
        loads = self._store.loads
        yield CounterMetricFamily("inference_model_loads", "Versions loaded.", value=loads.loads)
        yield CounterMetricFamily(
            "inference_model_load_seconds",
            "Time spent on loading and warming up versions.",
            value=loads.seconds,
        )
        yield GaugeMetricFamily(
            "inference_model_last_load_seconds",
            "How long the last version took to load and warm up.",
            value=loads.last_seconds,
        )
        failures = CounterMetricFamily(
            "inference_model_load_failures", "Versions not loaded, by reason.", labels=["reason"]
        )
        # A copy: the store's thread may add a reason meanwhile.
        for reason, count in sorted(dict(loads.failures).items()):
            failures.add_metric([reason], count)
        yield failures
        yield GaugeMetricFamily(
            "inference_registry_reachable",
            "1 if the registry answered the last poll.",
            value=int(self._store.registry_reachable),
        )


class _ThrottlingCollector(Collector):
    def __init__(self) -> None:
        self._cpu_stat = find_cpu_stat()

    def collect(self) -> Iterator[Metric]:
        throttling = read_throttling(self._cpu_stat) if self._cpu_stat else None
        if throttling is None:
            return
        yield CounterMetricFamily(
            "inference_cpu_periods",
            "Periods of the CPU limit in which the container ran.",
            value=throttling.periods,
        )
        yield CounterMetricFamily(
            "inference_cpu_throttled_periods",
            "Periods in which the container used up its CPU quota.",
            value=throttling.throttled_periods,
        )
        yield CounterMetricFamily(
            "inference_cpu_throttled_seconds",
            "How long the container was held back by its CPU limit.",
            value=throttling.throttled_seconds,
        )


def _cumulate(counts: list[int]) -> list[tuple[str, float]]:
    bounds = [*map(str, _BUCKETS), "+Inf"]
    total = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip(bounds, counts, strict=True):
        total += count
        buckets.append((bound, total))
    return buckets
