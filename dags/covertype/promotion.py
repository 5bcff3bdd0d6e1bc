"""Putting versions into production and back, with a record of every decision."""

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from covertype.audit import Audit, Decisions, Entry, previous_version
from covertype.dataset import Rows, encode, split
from covertype.errors import PipelineError
from covertype.gate import Assessment, Decision, assess, decide
from covertype.registry import Registry
from covertype.store import CovertypeStore

_log = logging.getLogger(__name__)


class Promotions:
    """Decides which version of a model is in production.

    Args:
        store: Where the held-out rows come from.
        registry: Where the versions are.
        audit: Where decisions are recorded.
        decided_by: A run of a DAG, or an operator.
    """

    def __init__(
        self, store: CovertypeStore, registry: Registry, audit: Audit, decided_by: str
    ) -> None:
        self.registry = registry
        self.audit = audit
        self._store = store
        self._decided_by = decided_by

    def promote(self, version: int) -> Decision:
        """Let one version pass the gate, and put it into production if it does.

        Raises:
            PipelineError: There is no such version, or no rows to compare on.
        """
        return self.promote_best([version])[0]

    def promote_best(self, versions: Sequence[int]) -> list[Decision]:
        """Let versions pass the gate, the best first, until one takes production.

        Safe to run again: a version that is in production already stays, and is not compared with
        itself.

        Args:
            versions: The new versions, at least one.

        Returns:
            A decision for each version, in the order in which they were judged.

        Raises:
            PipelineError: A version is missing, there are no rows to compare on, or somebody else
                changed production meanwhile.
        """
        current = self.registry.production()
        held_out = split(encode(self._store.read())).test
        decisions = []
        if current is not None and current in versions:
            self._note_missing(current)
            decisions.append(Decision(current, current, True, "It is in production already."))
        contenders = [self._assess(version, held_out) for version in versions if version != current]
        for contender in sorted(contenders, key=lambda one: (-one.objective, -one.version)):
            taken = next((done.version for done in decisions if done.accepted), None)
            if contender.failures:
                decision = replace(decide(contender, None, held_out), current=current)
            elif taken is not None and taken != current:
                reason = f"Version {taken} of the same run is better."
                decision = Decision(contender.version, taken, False, reason, contender.figures)
            else:
                # Announced while the one in production is assessed, which takes seconds.
                with self.registry.announced(contender.version):
                    holder = None if current is None else self._assess(current, held_out)
                    decision = decide(contender, holder, held_out)
                    self._carry_out(decision)
                decisions.append(decision)
                continue
            self._carry_out(decision)
            decisions.append(decision)
        return decisions

    def rollback(self) -> tuple[int, int]:
        """Put the version into production that was there before.

        Returns:
            The version that was in production, and the one that is now.

        Raises:
            PipelineError: There was none before, it is gone, or the record does not fit.
        """
        with self.audit.deciding() as decisions:
            current = self.registry.production()
            if current is None:
                raise PipelineError("No version is in production, so there is none to go back to.")
            previous = previous_version(decisions.entries(), current)
            if previous not in {version.number for version in self.registry.versions()}:
                raise PipelineError(
                    f"Version {previous}, which was in production before version {current}, is no "
                    "longer in MLflow. Promote another: make promote VERSION=n."
                )
            with self.registry.announced(previous):
                reason = f"Rolled back from version {current}."
                entry = Entry(
                    previous, "rollback", True, current, reason, self._decided_by, figures={}
                )
                decisions.record(entry)
                self.registry.promote(previous)
                self._keep_ready(decisions, previous)
        self._tag(Decision(previous, current, True, reason), "rolled back to")
        _log.info("Version %d is in production again, in the place of %d", previous, current)
        return current, previous

    def _assess(self, version: int, held_out: Rows) -> Assessment:
        assessment = assess(self.registry.fetch(version), held_out)
        _log.info("Version %d: %s %s", version, assessment.figures, assessment.failures)
        return assessment

    def _carry_out(self, decision: Decision) -> None:
        """Note a decision and move the alias, both or neither."""
        with self.audit.deciding() as decisions:
            if decision.accepted and self.registry.production() != decision.current:
                raise PipelineError(
                    f"Another version took production while version {decision.version} was "
                    "compared with the one before: run this again."
                )
            decisions.record(self._entry(decision))
            if decision.accepted:
                self.registry.promote(decision.version)
                self._keep_ready(decisions, decision.version)
        self._tag(decision, "promoted" if decision.accepted else "refused")
        _log.info("Version %d: %s", decision.version, decision.reason)

    def _keep_ready(self, decisions: Decisions, production: int) -> None:
        """Mark the version that a rollback from the one in production would bring back."""
        try:
            previous = previous_version(decisions.entries(), production)
        except PipelineError:
            return  # the first version that ever was in production
        self.registry.keep_ready(previous)

    def _note_missing(self, current: int) -> None:
        """Note a promotion whose note was lost, because the task died right after it."""
        with self.audit.deciding() as decisions:
            accepted = [entry.version for entry in decisions.entries() if entry.accepted]
            if accepted[-1:] != [current]:
                previous = accepted[-1] if accepted else None
                reason = "It was in production without a note of its promotion."
                decisions.record(self._entry(Decision(current, previous, True, reason)))

    def _entry(self, decision: Decision) -> Entry:
        return Entry(
            decision.version,
            "promote",
            decision.accepted,
            decision.current,
            decision.reason,
            self._decided_by,
            decision.figures,
        )

    def _tag(self, decision: Decision, outcome: str) -> None:
        self.registry.tag(
            decision.version,
            {
                "decision": outcome,
                "decision_reason": decision.reason,
                "decision_by": self._decided_by,
                "decision_at": datetime.now(UTC).isoformat(timespec="seconds"),
                "decision_figures": json.dumps(dict(decision.figures)),
            },
        )
