"""Measures a deployment and writes the page of results: `python -m bench`, from `make benchmark`.

Without settings on standard input the page is written anew from the figures that are there.
"""

import argparse
import json
import sys
from pathlib import Path

import uvloop

from bench.benchmark import Benchmark
from bench.deployment import BenchmarkError, Deployment
from bench.report import render

_TOP = Path(__file__).resolve().parents[2]
FIGURES = Path(__file__).parent / "results.json"
PAGE = _TOP / "docs" / "results" / "serving.md"


def main() -> int:
    """Carry out the command line; gives the exit code."""
    options = _parse()
    if options.measure:
        settings = json.load(sys.stdin)
        deployment = Deployment(
            settings["address"],
            settings["ports"],
            settings["ssh"],
            _TOP,
            Path(settings["ansible_playbook"]),
            [Path(file) for file in settings["trusted"]],
            Path(settings["mlflow_password_file"]).read_text().strip(),
        )
        benchmark = Benchmark(
            deployment,
            rounds=options.rounds,
            seconds=options.seconds,
            overload_seconds=options.overload_seconds,
            say=lambda line: print(line, flush=True),
        )
        try:
            figures = uvloop.run(benchmark.run())
        except BenchmarkError as error:
            print(f"\n{error}", file=sys.stderr)
            return 1
        options.figures.write_text(json.dumps(figures, indent=1) + "\n")
    options.page.parent.mkdir(parents=True, exist_ok=True)
    options.page.write_text(render(json.loads(options.figures.read_text())))
    print(f"The results are in {options.page}.")
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--measure", action="store_true", help="read settings and measure")
    parser.add_argument("--rounds", type=int, default=2, help="of all comparisons")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each load")
    parser.add_argument("--overload-seconds", type=float, default=60.0)
    parser.add_argument("--figures", type=Path, default=FIGURES)
    parser.add_argument("--page", type=Path, default=PAGE)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
