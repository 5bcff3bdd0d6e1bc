"""Writes the page of the study: `python -m scaling_report RESULTS FOLDER`."""

import argparse
import sys
from pathlib import Path

from scaling_report.page import PAGE, write
from scaling_report.results import ResultsError, read_study


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit code: 0, or 1 with a message on standard error.
    """
    parser = argparse.ArgumentParser(prog="python -m scaling_report", description=__doc__)
    parser.add_argument("results", type=Path, help="folder with the raw results")
    parser.add_argument("folder", type=Path, help="where the page and its pictures go")
    options = parser.parse_args(arguments)
    try:
        study = read_study(options.results)
        write(study, options.folder)
    except (ResultsError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{options.folder / PAGE}: {len(study.results)} points")
    return 0


if __name__ == "__main__":
    sys.exit(main())
