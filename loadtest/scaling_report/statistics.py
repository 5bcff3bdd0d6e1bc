"""Puts the repetitions of a case together, and compares cases."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from scaling_report.results import Case, Result

MORE, LESS, NO_DIFFERENCE = "more", "less", "no difference beyond the spread"


@dataclass(frozen=True)
class Spread:
    """A figure of several repetitions.

    Attributes:
        values: one of each repetition.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Their mean."""
        return sum(self.values) / len(self.values)

    @property
    def low(self) -> float:
        """The lowest of them."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The highest of them."""
        return max(self.values)

    def text(self, digits: int = 0) -> str:
        """Write the mean, and the lowest and highest where there are several."""
        if any(math.isnan(value) for value in self.values):
            return "-"
        mean = f"{self.mean:,.{digits}f}"
        if len(self.values) == 1:
            return mean
        return f"{mean} ({self.low:,.{digits}f} to {self.high:,.{digits}f})"


@dataclass(frozen=True)
class Group:
    """All repetitions of a case.

    Attributes:
        case: the case.
        results: one for each repetition.
    """

    case: Case
    results: tuple[Result, ...]

    def spread(self, figure: Callable[[Result], float]) -> Spread:
        """A figure of all repetitions."""
        return Spread(tuple(figure(result) for result in self.results))

    @property
    def asked(self) -> int:
        """Requests of all repetitions."""
        return sum(result.asked for result in self.results)

    @property
    def refused(self) -> int:
        """Those that were told to come later."""
        return sum(result.refused for result in self.results)

    @property
    def failed(self) -> int:
        """Those that got no answer or a wrong one."""
        return sum(result.failed for result in self.results)

    @property
    def answered_all(self) -> bool:
        """Whether no request was refused or failed."""
        return self.refused == self.failed == 0

    @property
    def limits(self) -> tuple[str, ...]:
        """What else than the API was at its limit in any repetition."""
        return tuple(sorted({limit for result in self.results for limit in result.limits}))


def group(results: Iterable[Result]) -> dict[Case, Group]:
    """Put the repetitions of each case together."""
    found: dict[Case, list[Result]] = {}
    for result in results:
        found.setdefault(result.case, []).append(result)
    return {case: Group(case, tuple(found[case])) for case in sorted(found)}


def direction(this: Spread, other: Spread) -> str:
    """Say whether `this` is `MORE` or `LESS` than `other`: a difference within the spread is none.

    Where that cannot be told, the answer is why.
    """
    if len(this.values) < 2 or len(other.values) < 2:
        return "cannot be told from one measurement"
    if any(math.isnan(value) for value in (*this.values, *other.values)):
        return "cannot be told, as nothing was answered"
    if this.low <= other.high and other.low <= this.high:
        return NO_DIFFERENCE
    return MORE if this.mean > other.mean else LESS


def compare(this: Spread, other: Spread) -> str:
    """Say by how much `this` is more or less than `other`, or what `direction` says instead."""
    found = direction(this, other)
    if found not in (MORE, LESS):
        return found
    return f"{abs(this.mean / other.mean - 1) * 100:.0f} % {found}"
