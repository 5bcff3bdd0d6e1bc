"""The operator's commands: `python -m covertype.production models | promote N | rollback`.

Run in a worker's container, where Airflow's connections are at hand. Ends with 0 when what was
asked for was done, with 1 when it was refused or could not be done.
"""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence

from covertype.audit import Entry
from covertype.connections import Connections, of_worker
from covertype.errors import PipelineError
from covertype.evaluation import ACCURACY, MACRO_F1
from covertype.promotion import Promotions
from covertype.registry import Version

_NOBODY = "operator"


def main(
    arguments: Sequence[str] | None = None,
    connect: Callable[[str], Connections] = of_worker,
) -> int:
    """Carry out a command and give the exit status.

    Args:
        arguments: The command line; None for the process's own.
        connect: Gives the services for an operator's name.
    """
    options = _parse(arguments)
    try:
        promotions = connect(options.by).promotions()
        match options.command:
            case "models":
                return _models(promotions)
            case "promote":
                return _promote(promotions, options.version)
            case _:
                return _rollback(promotions)
    except PipelineError as error:
        print(error, file=sys.stderr)
        return 1


def _models(promotions: Promotions) -> int:
    versions, production = promotions.registry.versions(), promotions.registry.production()
    if not versions:
        print("No version is registered yet: make pipeline trains the first.")
        return 0
    since = production_since(promotions.audit.entries(), production)
    rows = [
        ["Version", "Created", "Candidate", "Accuracy", "Macro-F1", "Decision", "In production"]
    ]
    rows += [_row(version, since if version.number == production else None) for version in versions]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip())
    return 0


def _promote(promotions: Promotions, version: int) -> int:
    print(f"Version {version} is put through the gate, which takes some seconds.", flush=True)
    decision = promotions.promote(version)
    verdict = "is in production" if decision.accepted else "is refused"
    print(f"Version {version} {verdict}. {decision.reason}")
    return 0 if decision.accepted else 1


def _rollback(promotions: Promotions) -> int:
    left, restored = promotions.rollback()
    print(f"Version {restored} is in production again, in the place of version {left}.")
    return 0


def production_since(entries: Sequence[Entry], production: int | None) -> str:
    """When and through whom the version in production came there."""
    last = next((entry for entry in reversed(entries) if entry.accepted), None)
    if last is None or last.version != production or last.decided_at is None:
        return "yes (changed by hand)"
    return f"since {last.decided_at:%Y-%m-%d %H:%M:%S} ({last.decided_by})"


def _row(version: Version, since: str | None) -> list[str]:
    return [
        str(version.number),
        f"{version.created:%Y-%m-%d %H:%M}",
        version.tags.get("candidate", "-"),
        *(
            f"{version.metrics[name]:.4f}" if name in version.metrics else "-"
            for name in (ACCURACY, MACRO_F1)
        ),
        version.tags.get("decision", "-"),
        since or "-",
    ]


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m covertype.production", description=__doc__)
    parser.add_argument("--by", default=_NOBODY, help="the name that decisions are recorded under")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("models", help="list the versions")
    promote = commands.add_parser("promote", help="put a version into production, if it passes")
    promote.add_argument("version", type=int)
    commands.add_parser("rollback", help="put the version before into production again")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    # Airflow's logging shows every record; what an operator needs to know is printed.
    logging.getLogger("covertype").setLevel(logging.WARNING)
    sys.exit(main())
