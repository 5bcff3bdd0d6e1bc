"""Writes the page: what was measured, how, and what follows from it, each number computed."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from load_test.settings import WAIT_SECONDS
from scaling_report.plots import PICTURES, draw
from scaling_report.results import (
    BUDGET,
    CLOSED,
    LIMITED_GENERATOR,
    LONG_PERIOD,
    OPEN,
    Case,
    Result,
    Study,
)
from scaling_report.statistics import (
    LESS,
    MORE,
    NO_DIFFERENCE,
    Group,
    compare,
    direction,
    group,
)

PAGE = "scaling.md"
_MIB, _GIB = 2**20, 2**30
_LIMITS = {"generator": "generator", "host": "the host's processors", "nginx": "nginx"}

# As many clients as any split should answer as if it were idle.
_CROWD = 500

# What the published study reports, by the number of replicas; from its text, not measured here.
_PUBLISHED = {
    1: "only `GET /models` completes, 22 to 26 requests/s",
    2: "prediction fails",
    4: "the whole flow completes, up to 31 requests/s",
}

Groups = Mapping[Case, Group]


def write(study: Study, folder: Path) -> None:
    """Write the page and its pictures into a folder."""
    groups = group(study.results)
    folder.mkdir(parents=True, exist_ok=True)
    for picture in PICTURES:
        if _cases(groups, BUDGET, picture.kind):
            draw(picture, groups, folder / f"{picture.name}.svg")
    (folder / PAGE).write_text(page(study, groups), encoding="utf-8")


def page(study: Study, groups: Groups) -> str:
    """The text of the page."""
    parts = [
        "# Does cutting the inference budget into replicas help?",
        (
            "Written by `make study` from the raw results in `loadtest/results/`; nothing measured "
            "is typed by hand."
        ),
        _conditions(study),
        "## What follows",
        "\n".join(f"- {sentence}" for sentence in _conclusions(groups)),
        _times(groups),
        "A difference within the spread of the repetitions is called none.",
        _costs(groups),
        "## Requests at a fixed rate",
        (
            "Every request has a moment at which it is due, and its time runs from that moment: "
            "waiting for a connection counts too. Past saturation the excess is refused (503)."
        ),
        *_pictures(groups, OPEN),
        *_tables(groups, BUDGET, OPEN),
        "## Clients that wait for their answers",
        (
            "Each lists the models, selects one, predicts with a row of the data, waits "
            f"{WAIT_SECONDS[0]:g} to {WAIT_SECONDS[1]:g} seconds and begins again; answers are "
            "counted of all three requests, times of the prediction."
        ),
        *_pictures(groups, CLOSED),
        *_tables(groups, BUDGET, CLOSED),
        "## With the scheduler's usual period",
        (
            "The same shares, kept in periods ten times as long: a replica that has used up its "
            "share waits for the rest of a longer period."
        ),
        *_tables(groups, LONG_PERIOD, CLOSED),
        *_tables(groups, LONG_PERIOD, OPEN),
        "## The mistaken set-up",
        (
            "The limit on what makes the load instead of on the API, as the published study had "
            "it: what is measured is the generator."
        ),
        *_tables(groups, LIMITED_GENERATOR, CLOSED),
        "## With scikit-learn in place of ONNX Runtime",
        (
            "How many predictions the same shares give when scikit-learn makes them stands beside "
            "other ways to serve in [How the inference API serves](serving.md)."
        ),
        "## Beside the published study",
        _published(groups),
        "## How to read the tables",
        (
            "Figures are means of the repetitions, with the lowest and highest of them. *Held "
            "back* is how much of the time a replica was not run because it had used up its share. "
            "*At its limit* names what else than the API was: then the API may be able to do "
            "more. Limits were read from the kernel's cgroup files before and after each point."
        ),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _conditions(study: Study) -> str:
    conditions, plan = study.conditions, study.plan
    where = "on the same host" if conditions["same_host"] else "elsewhere"
    return (
        f"Measured on {conditions['cores']} cores ({conditions['processor']}), "
        f"{conditions['memory_bytes'] / _GIB:.0f} GiB of memory, Linux {conditions['kernel']}, "
        f"control groups version {conditions['cgroup_version']}, with {conditions['model']}. The "
        f"load came from {conditions['generator_processes']} processes on a machine of its own, "
        f"{where}. {len(study.results)} points in random order (seed {plan['seed']}), each "
        f"counted for at least {plan['closed_seconds']} s (clients) or {plan['open_seconds']} s "
        "(fixed rate) after a warm-up."
    )


def _conclusions(groups: Groups) -> Iterator[str]:
    splits = sorted({case.replicas for case in groups if case.setup == BUDGET})
    if splits:
        yield from _about_the_question(groups, splits)
        yield from _about_processor_time(groups, splits)
        yield from _about_capacity(groups, splits)
        yield from _about_failures(groups, splits)
        yield from _about_a_crowd(groups, splits)
    yield from _about_the_period(groups)
    yield from _about_the_mistake(groups)


def _about_the_question(groups: Groups, splits: Sequence[int]) -> Iterator[str]:
    """Whether cutting helps, in throughput and in waiting."""
    first, *others = splits
    for replicas in others:
        answers_more, most = _about_the_most(_best(groups, replicas), _best(groups, first))
        pairs = [
            (groups[case], groups[undivided])
            for case in _cases(groups, BUDGET)
            if case.replicas == replicas and (undivided := replace(case, replicas=first)) in groups
        ]
        found = Counter(direction(one.spread(_p99), other.spread(_p99)) for one, other in pairs)
        helps = "help" if answers_more or found[LESS] else "do not help at any load"
        yield (
            f"**{_replicas(replicas)} instead of {first} {helps}**: p99 of a prediction, of "
            f"{len(pairs)} loads shorter at {found[LESS]}, longer at {found[MORE]}, no difference "
            f"beyond the spread at {found[NO_DIFFERENCE]}; most predictions per second, {most}."
        )


def _about_the_most(one: Group | None, other: Group | None) -> tuple[bool, str]:
    """Tell whether one split answered more than another at most, and say how they compare.

    Nothing follows where they could do more.
    """
    if one is None or other is None:
        return False, "not measured"
    if limits := _limits(one, other):
        return False, f"cannot be told, with {limits} at the limit"
    this, that = one.spread(_rate), other.spread(_rate)
    return direction(this, that) == MORE, compare(this, that)


def _about_processor_time(groups: Groups, splits: Sequence[int]) -> Iterator[str]:
    """Why: what a prediction costs."""
    first, *others = splits
    rates = _rates_that_all_answer(groups, splits)
    for load in sorted({rates[0], rates[-1]}) if rates else []:
        for replicas in others:
            one, other = (groups[Case(BUDGET, OPEN, count, load)] for count in (replicas, first))
            yield (
                f"Processor time of a prediction at {load:,} requests per second, "
                f"{_replicas(replicas)} against {first}: "
                f"{compare(one.spread(_cost), other.spread(_cost))}."
            )


def _rates_that_all_answer(groups: Groups, splits: Sequence[int]) -> list[int]:
    """The fixed rates at which no split refused or failed a request."""

    def all_answer(load: int) -> bool:
        found = [groups.get(Case(BUDGET, OPEN, replicas, load)) for replicas in splits]
        return all(one is not None and one.answered_all for one in found)

    return sorted(filter(all_answer, {case.load for case in _cases(groups, BUDGET, OPEN)}))


def _about_capacity(groups: Groups, splits: Sequence[int]) -> Iterator[str]:
    for replicas in splits:
        found = _best(groups, replicas)
        if found:
            at_least = " at least" if found.limits else ""
            rate = found.spread(_rate).text()
            held = found.spread(_held_back).text()
            yield (
                f"{_replicas(replicas)}:{at_least} {rate} right predictions per second, when asked "
                f"for {found.case.load:,}; a replica is held back {held} % of the time."
            )


def _times(groups: Groups) -> str:
    """The table that compares each split's p99 with that of the undivided budget."""
    first, *others = sorted({case.replicas for case in _cases(groups, BUDGET)}) or [0]
    lines = [
        f"| p99 at | {' | '.join(f'{_replicas(number)} against {first}' for number in others)} |",
        f"|{'---|' * (len(others) + 1)}",
    ]
    for kind, load in sorted({(case.kind, case.load) for case in _cases(groups, BUDGET)}):
        chosen = [groups.get(Case(BUDGET, kind, number, load)) for number in (first, *others)]
        undivided, *divided = chosen
        verdicts = [_verdict(one, undivided) for one in divided]
        lines.append(f"| {load:,} {_unit(kind)} | {' | '.join(verdicts)} |")
    return "\n".join(lines) if others else ""


def _costs(groups: Groups) -> str:
    """The table of what a prediction costs, and how long a replica is kept from working."""
    splits = sorted({case.replicas for case in _cases(groups, BUDGET)})
    rates = _rates_that_all_answer(groups, splits)
    lines = [
        f"| asked/s | {' | '.join(f'{_replicas(number)}: µs, held back %' for number in splits)} |",
        f"|---:{'|---' * len(splits)}|",
    ]
    for load in rates:
        chosen = [groups[Case(BUDGET, OPEN, number, load)] for number in splits]
        cells = [f"{one.spread(_cost).text()}, {one.spread(_held_back).text()}" for one in chosen]
        lines.append(f"| {load:,} | {' | '.join(cells)} |")
    text = (
        "Processor time of a prediction, and how much of the time a replica is held back for "
        "having used up its share, at the rates that every split answers in full:"
    )
    return "\n\n".join((text, "\n".join(lines))) if rates else ""


def _verdict(one: Group | None, other: Group | None) -> str:
    """Compare the p99 of two splits."""
    if one is None or other is None:
        return "not measured"
    limits = _limits(one, other)
    note = f" ({limits} at the limit)" if limits else ""
    return compare(one.spread(_p99), other.spread(_p99)) + note


def _limits(*chosen: Group) -> str:
    """What else than the API was at its limit in any of them."""
    limits = sorted({limit for one in chosen for limit in one.limits})
    return " and ".join(_LIMITS[limit] for limit in limits)


def _about_failures(groups: Groups, splits: Sequence[int]) -> Iterator[str]:
    for replicas in splits:
        chosen = [
            groups[case] for case in _cases(groups, BUDGET, CLOSED) if case.replicas == replicas
        ]
        if chosen:
            failed, asked = sum(one.failed for one in chosen), sum(one.asked for one in chosen)
            most = max(one.case.load for one in chosen)
            yield (
                f"{_replicas(replicas)}, up to {most:,} clients: {failed:,} of {asked:,} requests "
                "failed."
            )


def _about_a_crowd(groups: Groups, splits: Sequence[int]) -> Iterator[str]:
    """Whether clients that wait between their rounds get all answers that they can ask for."""
    for replicas in splits:
        crowd = groups.get(Case(BUDGET, CLOSED, replicas, _CROWD))
        if crowd:
            share = crowd.spread(lambda result: result.rate / result.due_rate * 100).text(1)
            yield (
                f"{_replicas(replicas)}, {_CROWD:,} clients: {crowd.spread(_rate).text()} right "
                f"answers per second, {share} % of what so many can ask for with their waiting; "
                f"p99 of a prediction {crowd.spread(_p99).text()} ms."
            )


def _about_the_period(groups: Groups) -> Iterator[str]:
    for case in _cases(groups, LONG_PERIOD):
        short = groups.get(Case(BUDGET, case.kind, case.replicas, case.load))
        if short:
            verdict = compare(groups[case].spread(_p99), short.spread(_p99))
            yield (
                f"p99 with a period of 100 ms against one of 10 ms, {_replicas(case.replicas)}, "
                f"{case.load:,} {_unit(case.kind)}: {verdict}."
            )


def _about_the_mistake(groups: Groups) -> Iterator[str]:
    for load in sorted({case.load for case in _cases(groups, LIMITED_GENERATOR, CLOSED)}):
        found = {
            case.replicas: groups[case]
            for case in _cases(groups, LIMITED_GENERATOR, CLOSED)
            if case.load == load
        }
        first, *others = sorted(found)
        for replicas in others:
            verdict = compare(found[replicas].spread(_rate), found[first].spread(_rate))
            used = found[replicas].spread(lambda result: result.generator_cpus).text(2)
            yield (
                f"With the limit on the generator, {load:,} clients, {_replicas(replicas)} against "
                f"{first}: {verdict} in answers per second, while the generator used {used} "
                "processors."
            )


def _published(groups: Groups) -> str:
    lines = ["| budget in | published | here, whole flow |", "|---|---|---|"]
    for replicas, published in _PUBLISHED.items():
        well = [
            groups[case]
            for case in _cases(groups, BUDGET, CLOSED)
            if case.replicas == replicas and groups[case].failed == 0
        ]
        here = "not measured or with failures"
        if well:
            best = max(well, key=lambda one: one.spread(_rate).mean)
            here = (
                f"completes, {best.spread(_rate).text()} requests/s with {best.case.load:,} "
                "clients, none failed"
            )
        lines.append(f"| {_replicas(replicas)} | {published} | {here} |")
    return "\n".join(lines)


def _pictures(groups: Groups, kind: str) -> list[str]:
    return [
        f"![{picture.title}]({picture.name}.svg)"
        for picture in PICTURES
        if picture.kind == kind and _cases(groups, BUDGET, kind)
    ]


def _tables(groups: Groups, setup: str, kind: str) -> list[str]:
    cases = _cases(groups, setup, kind)
    return [
        f"{_replicas(replicas).capitalize()}:\n\n"
        + _table([groups[case] for case in cases if case.replicas == replicas], kind)
        for replicas in sorted({case.replicas for case in cases})
    ]


def _table(groups: Sequence[Group], kind: str) -> str:
    header = [
        "asked/s" if kind == OPEN else "clients",
        *("right answers/s", "refused", "failed", "p50 ms", "p95 ms", "p99 ms", "longest ms"),
        *("API CPUs", "held back %", "MiB", "nginx CPUs", "generator CPUs", "at its limit"),
    ]
    lines = [f"| {' | '.join(header)} |", f"|{'---:|' * (len(header) - 1)}---|"]
    for one in groups:
        cells = [
            f"{one.case.load:,}",
            one.spread(_rate).text(),
            f"{one.refused:,}",
            f"{one.failed:,}",
            *(one.spread(figure).text(1) for figure in (_p50, _p95, _p99, _longest)),
            one.spread(lambda result: result.inference_cpus).text(2),
            one.spread(_held_back).text(),
            one.spread(lambda result: result.memory / _MIB).text(),
            one.spread(lambda result: result.balancer_cpus).text(2),
            one.spread(lambda result: result.generator_cpus).text(2),
            ", ".join(_LIMITS[limit] for limit in one.limits) or "-",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _best(groups: Groups, replicas: int) -> Group | None:
    """The rate at which a split answered most."""
    found = [groups[case] for case in _cases(groups, BUDGET, OPEN) if case.replicas == replicas]
    return max(found, key=lambda one: one.spread(_rate).mean, default=None)


def _cases(groups: Groups, setup: str, kind: str | None = None) -> list[Case]:
    return [case for case in groups if case.setup == setup and kind in (None, case.kind)]


def _unit(kind: str) -> str:
    return "requests per second" if kind == OPEN else "clients"


def _replicas(number: int) -> str:
    return f"{number} replica{'s' if number > 1 else ''}"


def _rate(result: Result) -> float:
    return result.rate


def _held_back(result: Result) -> float:
    return result.held_back * 100


def _cost(result: Result) -> float:
    """Microseconds of a processor that a right answer takes."""
    return result.inference_cpus / result.rate * 1e6


def _p50(result: Result) -> float:
    return result.p50


def _p95(result: Result) -> float:
    return result.p95


def _p99(result: Result) -> float:
    return result.p99


def _longest(result: Result) -> float:
    return result.longest
