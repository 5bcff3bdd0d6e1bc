"""The bare loop: ONNX Runtime on one real row after the other, with nothing around it.

Run in the inference API's image as `python -m bench.references.bare_loop MODEL_FOLDER ROWS
SECONDS`, where ROWS is a JSON file with a list of observations. Prints the rows a second as JSON.
"""

import json
import sys
import time
from itertools import cycle
from pathlib import Path

import numpy as np

from bench.references.graph import encode, open_graph
from inference_api import huge_pages


def main(folder: Path, rows: Path, seconds: float) -> None:
    """Predict rows one by one for so many seconds and print how many that were in each."""
    schema, session = open_graph(folder)
    inputs = [np.array([encode(schema, row)], np.float32) for row in json.loads(rows.read_text())]
    names, feed = [schema.onnx.output], schema.onnx.input
    for row in inputs[:64]:
        session.run(names, {feed: row})
    huge_pages.collapse()  # as the replicas do: it is the limit for them
    began = time.perf_counter()
    for count, row in enumerate(cycle(inputs), start=1):
        session.run(names, {feed: row})
        passed = time.perf_counter() - began
        if passed >= seconds:
            print(json.dumps({"per_second": count / passed}))
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
