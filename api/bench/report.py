"""Turns the figures of a benchmark into a page; every number on it is computed from them."""

from collections.abc import Sequence
from statistics import mean, median
from typing import Any

_MIB = 2**20
_GIB = 2**30
# What each peer is, and how many times as fast one replica should be.
_PEERS = {
    "fastapi_onnx": ("FastAPI, pydantic and ONNX Runtime", 3.0),
    "mlflow_models_serve": ("`mlflow models serve`", None),
    "sklearn_pandas": ("FastAPI, pandas and scikit-learn", 200.0),
}
_BARE_LOOP_AIM = 0.45
_SPLIT_AIMS = {"1": 1.0, "2": 0.85, "4": 0.70}
_P99_AIMS = {"1": 20.0, "2": 25.0, "4": 40.0}
_GOODPUT_AIM = 0.8
_SLOWEST_AIM_MS = 2000.0
_MODEL_CHANGE_AIM_SECONDS = 5.0
# Under these names the changes of the model are among the changes.
MODEL_NOT_IN_MEMORY = "a model that no replica had in memory is promoted"
MODEL_STANDING_BY = "ten promotions of a model that stands by"


def render(figures: dict[str, Any]) -> str:
    """The page, in Markdown.

    Args:
        figures: as `Benchmark.run` gives them.
    """
    rounds = figures["rounds"]
    capacity = {split: mean(_rates(rounds, split)) for split in rounds[0]["splits"]}
    sections = [
        _head(figures),
        _comparison(rounds, capacity),
        _splits(rounds, capacity, figures["connections"]),
        _batches(figures["batches"]),
        _overload(figures["overload"]),
        _fuzzing(figures["fuzzing"]),
        _changes(figures["changes"]),
    ]
    return "\n\n".join(sections) + "\n"


def _head(figures: dict[str, Any]) -> str:
    machine, model = figures["machine"], figures["model"]
    return f"""\
# How the inference API serves

Written by `make benchmark`, from `api/bench/results.json`; nothing here is typed by hand.

Machine: {machine["processors"]} processors ({machine["processor"]}), {machine["memory_gib"]} GiB,
Linux {machine["kernel"]}, cgroup v{machine["cgroup"]}. The load came from the same host and shared
its processors with the platform. All replicas together had {figures["cpus"]:g} processors
(period {figures["cpu_period_microseconds"] / 1000:g} ms) and {figures["memory_bytes"] / _GIB:g}
GiB, read from the kernel before each load. Model: {model["name"]}, version {model["version"]}.
Each load lasted {figures["seconds"]:g} s, without its first seconds; {len(figures["rounds"])}
rounds, in alternating order. Requests were real rows, one each, over kept connections."""


def _comparison(rounds: Sequence[dict[str, Any]], capacity: dict[str, float]) -> str:
    shares = [_share(rounds, split) for split in capacity]
    loop = mean(one["bare_loop"]["per_second"] for one in rounds)
    rows = [["this inference API", *(f"{rate:,.0f}" for rate in capacity.values()), ""]]
    for kind, (title, aim) in _PEERS.items():
        rates = {
            split: mean(one["splits"][split]["peers"][kind]["per_second"] for one in rounds)
            for split in capacity
        }
        ratios = {split: capacity[split] / rate for split, rate in rates.items()}
        verdict = _verdict(ratios["1"] >= aim, f"{aim:g} times") if aim else ""
        if aim and ratios["1"] < aim:
            # What is beyond it is beyond every server of this model.
            verdict += f" (the bare loop: {loop / rates['1']:.1f} times)"
        rows.append(
            [
                title,
                *(f"{rates[split]:,.0f} (ours: {ratios[split]:.1f} times)" for split in capacity),
                verdict,
            ]
        )
    ratio = capacity["1"] / loop
    rows.append(
        [
            "a bare loop over the model, no HTTP",
            f"{loop:,.0f} (ours: {ratio:.0%})",
            *[""] * (len(capacity) - 1),
            _verdict(ratio >= _BARE_LOOP_AIM, f"at least {_BARE_LOOP_AIM:.0%}"),
        ]
    )
    return (
        "## Against other ways, with the same share\n\n"
        "Predictions a second of the same model; where scikit-learn serves, of the estimator that "
        "it was made from. Each way ran as often as the inference API does, with the same limits, "
        "behind an nginx with the same configuration, and was asked by the same generator. nginx "
        "reaches the inference API's replicas by Unix sockets and the others by TCP.\n\n"
        + _table(["what", *shares, "aim for one"], rows)
    )


def _splits(rounds: Sequence[dict[str, Any]], capacity: dict[str, float], connections: int) -> str:
    rows = []
    for split, rate in capacity.items():
        at_share = [one["splits"][split]["at_70_percent"] for one in rounds]
        p99 = [turn for one in at_share for turn in one["turns_p99_ms"]]
        worst_round = max(one["p99_ms"] for one in at_share)
        failed = sum(
            one["splits"][split][load]["failed"]
            for one in rounds
            for load in ("capacity", "at_70_percent")
        )
        ratio = rate / capacity["1"]
        of_one = _verdict(ratio >= _SPLIT_AIMS[split], f"{_SPLIT_AIMS[split]:.0%}")
        typical, worst = (
            f"{p99_ms:.1f} ms ({_verdict(p99_ms <= _P99_AIMS[split], f'{_P99_AIMS[split]:g} ms')})"
            for p99_ms in (median(p99), worst_round)
        )
        rows.append(
            [
                _share(rounds, split),
                f"{rate:,.0f}",
                _spread(_rates(rounds, split)),
                f"{ratio:.0%} ({of_one})",
                typical,
                f"{min(p99):.1f} to {max(p99):.1f} ms",
                worst,
                f"{max(one['generator_late_ms'] for one in at_share):.0f} ms",
                str(failed),
            ]
        )
    return (
        "## The same share cut into replicas\n\n"
        f"Capacity is what {connections} connections get that wait for their answers. The p99 is "
        "of an open loop over as many at 70 % of it, in which waiting counts from when a request "
        f"was due. Both were measured in turns, {len(p99)} for each split, as this host's speed "
        "changes within seconds: each at 70 % of the capacity measured right before. The aim is "
        "compared with the median turn, and with all turns of the worst round together. Where the "
        "load itself was late, the host was busy with something else.\n\n"
        + _table(
            [
                *("replicas", "predictions/s", "rounds", "of one replica"),
                *("p99 at 70 %: median turn", "turns", "worst round"),
                *("load late at most", "failed"),
            ],
            rows,
        )
    )


def _batches(batches: dict[str, Any]) -> str:
    rows = [
        [size, f"{load['rows_per_second']:,}", f"{load['p50_ms']:.1f} ms", str(load["failed"])]
        for size, load in batches.items()
    ]
    return "## Lists of rows\n\nOne replica with the whole share, two connections.\n\n" + _table(
        ["rows a request", "rows/s", "median answer", "failed"], rows
    )


def _overload(overload: dict[str, Any]) -> str:
    rows = []
    for split, load in overload.items():
        capacity = load["capacity"]["per_second"]
        goodput = load["per_second"] / capacity
        others = sum(
            count for status, count in load["statuses"].items() if status not in ("200", "503")
        )
        unanswered = others + sum(load["failures"].values())
        memory = load["memory_bytes"]
        rows.append(
            [
                f"{split} x {load['limits'][0]['cpus']:g}",
                f"{capacity:,.0f}",
                f"{load['due'] / load['seconds']:,.0f}",
                f"{load['per_second']:,.0f}",
                f"{goodput:.0%} ({_verdict(goodput >= _GOODPUT_AIM, f'{_GOODPUT_AIM:.0%}')})",
                f"{load['p99_ms']:.0f} ms",
                f"{load['slowest_ms']:.0f} ms "
                f"({_verdict(load['slowest_ms'] <= _SLOWEST_AIM_MS, '2 s')})",
                f"{load['statuses'].get('503', 0):,}",
                f"{unanswered} ({_verdict(unanswered == 0, 'none')})",
                f"{memory['before'] / _MIB:.0f} -> {memory['after'] / _MIB:.0f} MiB",
                str(load["restarts"]),
            ]
        )
    seconds = next(iter(overload.values()))["seconds"]
    return (
        f"## Twice the capacity for {seconds:.0f} s\n\n"
        "With half the share: for twice what the whole one can do, the load itself would need more "
        "than this host has, and it would be the host that is overloaded.\n\n"
        + _table(
            [
                *("replicas", "capacity", "due/s", "answered/s", "of capacity", "p99"),
                *("slowest answer", "503", "anything else", "memory", "restarts"),
            ],
            rows,
        )
    )


def _fuzzing(fuzzing: dict[str, Any]) -> str:
    statuses = ", ".join(f"{count:,} x {status}" for status, count in fuzzing["statuses"].items())
    memory = fuzzing["memory_bytes"]
    return (
        "## Requests drawn from the OpenAPI document\n\n"
        f"{sum(fuzzing['statuses'].values()):,} requests, half of them wrong in some way: "
        f"{statuses}. Each answer was checked against the document. Memory of the replicas: "
        f"{memory['before'] / _MIB:.0f} -> {memory['after'] / _MIB:.0f} MiB; restarts: "
        f"{fuzzing['restarts']}."
    )


def _changes(changes: dict[str, Any]) -> str:
    rows = []
    for what, load in changes.items():
        rows.append(
            [
                what,
                f"{load['due']:,}",
                f"{load['failed']} ({_verdict(load['failed'] == 0, 'none')})",
                f"{load['p99_ms']:.1f} ms",
                f"{load['slowest_ms']:.0f} ms",
            ]
        )
    cold = changes[MODEL_NOT_IN_MEMORY]["seconds_to_change"][0]
    seconds = changes[MODEL_STANDING_BY]["seconds_to_change"]
    longest = max(seconds)
    aim = _verdict(longest <= _MODEL_CHANGE_AIM_SECONDS, f"{_MODEL_CHANGE_AIM_SECONDS:g} s")
    return (
        "## What clients notice of changes\n\nFour replicas at 50 % of their capacity.\n\n"
        + _table(["while", "requests", "failed", "p99", "slowest"], rows)
        + "\n\nFrom the promotion to the last answer of the old version: "
        + ", ".join(f"{one:g}" for one in seconds)
        + f" s; the longest {longest:g} s ({aim}). Where the version had to be fetched and loaded "
        f"first, which each replica does with what its share leaves: {cold:g} s."
    )


def _rates(rounds: Sequence[dict[str, Any]], split: str) -> list[float]:
    return [one["splits"][split]["capacity"]["per_second"] for one in rounds]


def _share(rounds: Sequence[dict[str, Any]], split: str) -> str:
    return f"{split} x {rounds[0]['splits'][split]['limits'][0]['cpus']:g}"


def _spread(rates: Sequence[float]) -> str:
    return f"{min(rates):,.0f} to {max(rates):,.0f}"


def _verdict(reached: bool, aim: str) -> str:
    return f"aim {aim}: {'reached' if reached else 'not reached'}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
