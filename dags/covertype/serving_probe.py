"""Measures what serving a model costs: `python -m covertype.serving_probe MODEL ROWS`.

Run in a process of its own, which holds nothing but ONNX Runtime and the model, as a replica of
the inference API does; it prints JSON.
"""

import json
import re
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime  # type: ignore[import-untyped]

# A busy machine makes the same work take more processor time; the least is the work itself.
_LOADS = 3


def measure(model: Path, rows: Path) -> dict[str, float]:
    """Load a model and predict rows one by one.

    Args:
        model: The ONNX file.
        rows: A file of NumPy with the inputs, float32 [rows, inputs].

    Returns:
        Processor seconds to load it, the process's greatest resident memory in bytes, and the
        median and 99th percentile of microseconds a row.
    """
    inputs = np.load(rows)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    seconds_of_loads = []
    for load in range(_LOADS):
        started = time.process_time()
        session = onnxruntime.InferenceSession(
            str(model), options, providers=["CPUExecutionProvider"]
        )
        seconds_of_loads.append(time.process_time() - started)
        if load == 0:
            load_memory_bytes = _greatest_memory()
    name = session.get_inputs()[0].name
    output = session.get_outputs()[0].name
    seconds = []
    for row in inputs:
        began = time.perf_counter()
        session.run([output], {name: row[None, :]})
        seconds.append(time.perf_counter() - began)
    return {
        "load_cpu_seconds": min(seconds_of_loads),
        "load_memory_bytes": float(load_memory_bytes),
        "row_microseconds": float(np.median(seconds) * 1e6),
        "row_microseconds_p99": float(np.quantile(seconds, 0.99) * 1e6),
    }


def _greatest_memory() -> int:
    """Greatest resident memory of this program in bytes.

    From the kernel's own count since the program's start; `getrusage` counts what the parent held
    before it too.
    """
    status = Path("/proc/self/status").read_text()
    (kibibytes,) = re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(kibibytes) * 1024


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), Path(sys.argv[2]))))
