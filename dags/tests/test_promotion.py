"""Code tests of promotion and rollback, on a real MLflow and a real Postgres."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from conftest import SampleStore, cost_without_measuring, evidence_of
from covertype import evidence, gate, production
from covertype.audit import Audit, Entry, previous_version
from covertype.connections import Connections
from covertype.database import Database
from covertype.dataset import Split
from covertype.errors import PipelineError
from covertype.evidence import Evidence
from covertype.export import ExportedModel
from covertype.promotion import Promotions
from covertype.registry import Registry

Register = Callable[..., int]


@pytest.fixture
def register(registry: Registry, parts: Split) -> Register:
    """Registers a model with its evidence; gives the version."""
    numbers = iter(range(100))

    def make(model: ExportedModel, proof: Evidence | None = None) -> int:
        with registry.run(f"run-{next(numbers)}", "a run") as run_id:
            proof = proof or evidence_of(model, parts)
            registry.log_files({evidence.FILE_NAME: proof.dump()})
            return registry.register(model, run_id, {"candidate": "made"}, "A card.")

    return make


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "measure", cost_without_measuring)


@pytest.fixture
def promotions(sample_store: SampleStore, registry: Registry, audit: Audit) -> Promotions:
    return Promotions(sample_store, registry, audit, "ana")


def tags(registry: Registry, version: int) -> dict[str, str]:
    return dict(next(one.tags for one in registry.versions() if one.number == version))


def aliases(registry: Registry) -> dict[str, int]:
    model = registry._client.get_registered_model(registry.tracking.model_name)
    return {alias: int(version) for alias, version in model.aliases.items()}


def history(audit: Audit) -> list[tuple[str, int, bool, int | None]]:
    return [(one.action, one.version, one.accepted, one.previous) for one in audit.entries()]


def test_promote_refuse_and_roll_back(
    registry: Registry,
    promotions: Promotions,
    audit: Audit,
    register: Register,
    good: ExportedModel,
    worse: ExportedModel,
    parts: Split,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert registry.production() is None
    first, second = register(worse), register(good)
    assert promotions.promote(first).accepted
    assert aliases(registry) == {"production": first}

    # The inference API can load the version before it is in production, and loads it no longer.
    seen: list[dict[str, int]] = []
    promote = registry.promote

    def note(version: int) -> None:
        seen.append(aliases(registry))
        promote(version)

    monkeypatch.setattr(registry, "promote", note)
    assert promotions.promote(second).accepted
    assert seen == [{"production": first, "candidate": second}]
    # The one before stays at hand for a rollback.
    assert aliases(registry) == {"production": second, "previous": first}
    assert tags(registry, second)["decision"] == "promoted"
    assert tags(registry, second)["decision_by"] == "ana"
    assert "accuracy_p_value" in tags(registry, second)["decision_figures"]

    # Refused: the worse one, and one that leaks.
    refused = promotions.promote(first)
    assert not refused.accepted
    assert "not better" in tags(registry, first)["decision_reason"]
    leaking = register(good, replace(evidence_of(good, parts), fitted=parts.test.hashes))
    assert "Leak" in promotions.promote(leaking).reason
    assert aliases(registry) == {"production": second, "previous": first}

    # Back, and there again.
    assert promotions.rollback() == (second, first)
    assert registry.production() == first
    assert tags(registry, first)["decision"] == "rolled back to"
    with pytest.raises(PipelineError, match=f"No version was in production before version {first}"):
        promotions.rollback()
    assert promotions.promote(second).accepted
    assert history(audit) == [
        ("promote", first, True, None),
        ("promote", second, True, first),
        ("promote", first, False, second),
        ("promote", leaking, False, second),
        ("rollback", first, True, second),
        ("promote", second, True, first),
    ]


def test_the_best_of_a_run_is_judged_first_and_a_retry_changes_nothing(
    registry: Registry,
    promotions: Promotions,
    audit: Audit,
    register: Register,
    good: ExportedModel,
    worse: ExportedModel,
) -> None:
    versions = [register(worse), register(good)]
    decisions = promotions.promote_best(versions)
    assert [(one.version, one.accepted) for one in decisions] == [
        (versions[1], True),
        (versions[0], False),
    ]
    assert "of the same run is better" in decisions[1].reason
    again = promotions.promote_best(versions)
    assert again[0].reason == "It is in production already."
    assert aliases(registry) == {"production": versions[1]}
    assert [entry for entry in history(audit) if entry[2]] == [("promote", versions[1], True, None)]


def test_a_failed_change_of_the_alias_leaves_no_entry_and_no_candidate(
    registry: Registry,
    promotions: Promotions,
    audit: Audit,
    register: Register,
    good: ExportedModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    version = register(good)
    with monkeypatch.context() as broken:

        def fail(_: int) -> None:
            raise PipelineError("MLflow is away")

        broken.setattr(registry, "promote", fail)
        with pytest.raises(PipelineError, match="MLflow is away"):
            promotions.promote(version)
    assert aliases(registry) == {}
    assert audit.entries() == []
    # Changed, but the note was lost: the retry makes up for it.
    registry.promote(version)
    promotions.promote(version)
    assert history(audit) == [("promote", version, True, None)]


def test_a_version_that_is_not_there_is_named(
    registry: Registry, promotions: Promotions, register: Register, good: ExportedModel
) -> None:
    version = register(good)
    with pytest.raises(PipelineError, match=r"There is no version 99 .*`make models`"):
        promotions.promote(99)
    with pytest.raises(PipelineError, match="none to go back to"):
        promotions.rollback()
    registry.promote(version)
    with pytest.raises(PipelineError, match="moved the alias by hand"):
        promotions.rollback()


def test_entries_cannot_be_changed(audit: Audit, postgres: Database) -> None:
    with audit.deciding() as decisions:
        decisions.record(Entry(1, "promote", True, None, "Good.", "ana", {"accuracy": 0.9}))
    (entry,) = audit.entries()
    assert entry.figures == {"accuracy": 0.9}
    assert entry.decided_at is not None
    for statement in ("DELETE FROM", "TRUNCATE", "UPDATE"):
        setting = " SET version = 2" if statement == "UPDATE" else ""
        with (
            pytest.raises(PipelineError, match="never changed or removed"),
            postgres.transaction() as cursor,
        ):
            cursor.execute(f"{statement} model_promotions{setting}")
    assert audit.entries() == [entry]


def entry(version: int, previous: int | None, action: Any = "promote") -> Entry:
    return Entry(version, action, True, previous, "", "", {})


def test_rolling_back_twice_goes_two_versions_back() -> None:
    entries = [entry(1, None), entry(2, 1), entry(3, 2)]
    refused = replace(entry(9, 3), accepted=False)
    assert previous_version([*entries, refused], 3) == 2
    entries.append(entry(2, 3, "rollback"))
    assert previous_version(entries, 2) == 1
    entries.append(entry(1, 2, "rollback"))
    with pytest.raises(PipelineError, match="before version 1"):
        previous_version(entries, 1)
    # From there on anew.
    assert previous_version([*entries, entry(4, 1)], 4) == 1


def test_an_alias_that_was_moved_by_hand_is_noticed() -> None:
    entries = [entry(1, None), entry(2, 1)]
    with pytest.raises(PipelineError, match="moved the alias by hand"):
        previous_version(entries, 1)
    # The next decision saw that version 5 was there.
    assert previous_version([*entries, entry(3, 5)], 3) == 5


# --- the operator's commands ----------------------------------------------------------------


@pytest.fixture
def command(promotions: Promotions, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs the program on this test's services."""
    monkeypatch.setattr(Connections, "promotions", lambda _: promotions)

    def run(*arguments: str) -> int:
        connections = Connections(lambda _: None, lambda _, default: default, "ana")
        return production.main(arguments, connect=lambda _: connections)

    return run


def test_commands(
    command: Callable[..., int],
    register: Register,
    good: ExportedModel,
    worse: ExportedModel,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command("models") == 0
    assert "No version is registered yet" in capsys.readouterr().out
    first, second = register(worse), register(good)
    assert command("promote", str(first)) == 0
    assert f"Version {first} is in production." in capsys.readouterr().out
    assert command("promote", str(second)) == 0
    assert command("promote", str(first)) == 1
    assert f"Version {first} is refused. It is not better" in capsys.readouterr().out
    assert command("models") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["Version", "Created"]
    assert lines[1].startswith(f"{second} ")
    assert "promoted" in lines[1]
    assert "since 20" in lines[1]
    assert "(ana)" in lines[1]
    assert lines[2].split()[-2:] == ["refused", "-"]
    assert command("rollback") == 0
    assert f"Version {first} is in production again" in capsys.readouterr().out
    assert command("rollback") == 1
    assert "No version was in production before" in capsys.readouterr().err
    assert command("promote", "77") == 1
    assert "There is no version 77" in capsys.readouterr().err
