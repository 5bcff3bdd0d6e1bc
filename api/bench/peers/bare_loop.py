"""The bound: a loop over the model alone, one row a call: ``bare_loop FOLDER SECONDS``.

It waits for a line on standard input before it starts, and prints its rows a second.
"""

import sys
from pathlib import Path
from time import perf_counter

import numpy as np
import onnxruntime as ort  # type: ignore[import-untyped] # it ships no types

from bench.paths import Folder

_CHECK_EVERY = 64


def main() -> None:
    """Run the loop."""
    folder, seconds = Folder(Path(sys.argv[1])), float(sys.argv[2])
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = ort.InferenceSession(str(folder.graph), options, providers=["CPUExecutionProvider"])
    (output, *_), (source,) = session.get_outputs(), session.get_inputs()
    rows = [row[None, :] for row in np.load(folder.rows)]
    run = session.run
    print("ready", flush=True)
    sys.stdin.readline()
    started = perf_counter()
    count = 0
    while perf_counter() - started < seconds:
        for index in range(count, count + _CHECK_EVERY):
            run([output.name], {source.name: rows[index % len(rows)]})
        count += _CHECK_EVERY
    print(count / (perf_counter() - started))


if __name__ == "__main__":
    main()
