"""Runs the benchmark: ``python -m bench``, as root, in an environment made of requirements.txt."""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import report, scenarios
from bench.paths import RESULTS, Folder
from bench.prepare import prepare
from bench.scenarios import Record

_SPLITS = (1, 2, 4)
_SCENARIOS = ("ideas", "throughput", "batches", "overload")


def main() -> None:
    """Run what is asked for; replace those raw results, and generate the tables anew."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("scenarios", nargs="*", choices=[[], *_SCENARIOS, "report"])
    parser.add_argument("--replicas", type=int, nargs="+", default=_SPLITS, choices=_SPLITS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--overload-seconds", type=float, default=60.0)
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(tempfile.gettempdir()) / "inference-bench",
        help="where the model and the requests are kept; made if missing",
    )
    given = parser.parse_args()
    wanted = given.scenarios or _SCENARIOS
    folder = Folder(given.folder)
    if wanted != ["report"]:
        prepare(folder)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        work = Path(name)
        if "ideas" in wanted:
            _keep("ideas", scenarios.ideas(folder, work / "ideas", given.rounds))
        if "batches" in wanted:
            _keep("batches", scenarios.batches(folder, work / "batches", given.rounds))
        for replicas in given.replicas:
            if "throughput" in wanted:
                _keep(
                    f"throughput_{replicas}",
                    scenarios.throughput(
                        folder, work / f"throughput-{replicas}", replicas, given.rounds
                    ),
                )
            if "overload" in wanted:
                _keep(
                    f"overload_{replicas}",
                    scenarios.overload(
                        folder, work / f"overload-{replicas}", replicas, given.overload_seconds
                    ),
                )
    report.write()


def _keep(name: str, records: Iterator[Record]) -> None:
    """Write records to a file of raw results, and show each as it comes."""
    lines = []
    for record in records:
        lines.append(json.dumps(record))
        print(lines[-1], flush=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.jsonl").write_text("".join(line + "\n" for line in lines))


if __name__ == "__main__":
    main()
