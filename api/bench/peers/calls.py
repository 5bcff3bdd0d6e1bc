"""Ways to call the model, in one process: ``python -m bench.peers.calls FOLDER ROUNDS``.

Prints one line of JSON for each way and round: the CPU time (not the clock's) of a row.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import thread_time
from typing import Any

import numpy as np
import onnxruntime as ort  # type: ignore[import-untyped] # it ships no types
from numpy.typing import NDArray

from bench.paths import Folder
from inference_api.model import Identity, load

_ROWS = 4096

Floats = NDArray[np.float32]
Way = Callable[[Floats], object]


def main() -> None:
    """Measure every way in turn, in each round."""
    folder, rounds = Folder(Path(sys.argv[1])), int(sys.argv[2])
    rows: Floats = np.load(folder.rows)[:_ROWS]
    ways = _ways(folder)
    for number in range(rounds):
        for name, (size, way) in ways.items():
            chunks = [rows[start : start + size] for start in range(0, len(rows), size)]
            started = thread_time()
            for chunk in chunks:
                way(chunk)
            microseconds = (thread_time() - started) / len(rows) * 1e6
            record = {"round": number, "way": name, "microseconds": microseconds}
            print(json.dumps(record), flush=True)


def _ways(folder: Folder) -> dict[str, tuple[int, Way]]:
    """Return each way's rows a call, and the call."""
    plain = _session(str(folder.graph))
    with tempfile.TemporaryDirectory() as name:
        ort_format = Path(name) / "model.ort"
        options = _options()
        options.optimized_model_filepath = str(ort_format)
        options.add_session_config_entry("session.save_model_format", "ORT")
        ort.InferenceSession(str(folder.graph), options, providers=["CPUExecutionProvider"])
        saved = _session(str(ort_format))
    unoptimised_options = _options()
    unoptimised_options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    unoptimised = _session(str(folder.graph), unoptimised_options)
    no_arena_options = _options()
    no_arena_options.enable_cpu_mem_arena = False
    no_arena_options.enable_mem_pattern = False
    no_arena = _session(str(folder.graph), no_arena_options)
    model = load(Identity("bench", "1", 0), folder.path, _ROWS)

    def bound(rows: Floats) -> object:
        return model.labels(rows.tobytes(), len(rows))

    return {
        "run, label alone": (1, _run(plain, ["label"])),
        "run, label and probabilities": (1, _run(plain, None)),
        "run, ORT format": (1, _run(saved, ["label"])),
        "run, graph not optimised": (1, _run(unoptimised, ["label"])),
        "run, no memory arena": (1, _run(no_arena, ["label"])),
        "bound input and output": (1, bound),
        "bound, 2 rows a call": (2, bound),
        "bound, 8 rows a call": (8, bound),
        "bound, 32 rows a call": (32, bound),
        "run, 1000 rows a call": (1000, bound),
    }


def _run(session: Any, outputs: list[str] | None) -> Way:
    return lambda rows: session.run(outputs, {"features": rows})


def _options() -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return options


def _session(path: str, options: Any = None) -> Any:
    return ort.InferenceSession(path, options or _options(), providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    main()
