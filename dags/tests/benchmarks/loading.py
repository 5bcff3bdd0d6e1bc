"""Measures loading: `PYTHONPATH=tests python -m tests.benchmarks.loading CSV`.

Run in `dags/`. Loads all rows of the data set, in ten batches, into a Postgres of its own, and
prints how many rows a second each step takes.
"""

import argparse
import csv
import time
from pathlib import Path

import numpy as np
from servers import running_postgres

from covertype.schema import BATCHES
from covertype.store import CovertypeStore, copy_rows
from covertype.validation import check_rows


def main() -> None:
    """Load and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("csv", type=Path, help="the whole data set")
    with parser.parse_args().csv.open() as file:
        rows = list(csv.reader(file))[1:]
    batches = {
        batch: [rows[position] for position in part]
        for batch, part in zip(
            BATCHES, np.array_split(np.arange(len(rows)), len(BATCHES)), strict=True
        )
    }
    seconds = dict.fromkeys(("validate", "copy", "stage (hashes, duplicates, copy)"), 0.0)
    with running_postgres() as database:
        store = CovertypeStore(database)
        store.create()
        checked = {}
        for batch, part in batches.items():
            began = time.perf_counter()
            checked[batch] = check_rows(part)
            seconds["validate"] += time.perf_counter() - began
        for batch, good in checked.items():
            with database.transaction() as cursor:
                began = time.perf_counter()
                copy_rows(cursor, batch, good.rows)
                seconds["copy"] += time.perf_counter() - began
        for batch, good in checked.items():
            began = time.perf_counter()
            store.stage(batch, good)
            seconds["stage (hashes, duplicates, copy)"] += time.perf_counter() - began
        for title, action in (("publish", store.publish), ("read", store.read)):
            began = time.perf_counter()
            action()
            seconds[title] = time.perf_counter() - began
    for title, taken in seconds.items():
        print(f"{title}: {len(rows)} rows in {taken:.2f} s, {len(rows) / taken:,.0f} rows/s")


if __name__ == "__main__":
    main()
