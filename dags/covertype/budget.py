"""The serving budget: what a model may cost the inference API, and what it does cost."""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from covertype.dataset import Floats
from covertype.errors import PipelineError

_SMALLEST_REPLICA_CPUS = 0.125
_PROBED_ROWS = 400
_TIMEOUT_SECONDS = 180


@dataclass(frozen=True)
class ServingBudget:
    """The most that a model may cost, set by the smallest replica: an eighth of a core, 2.5 GB.

    Attributes:
        model_bytes: Of the ONNX file. Each replica downloads it before each swap, through an
            eighth of a core.
        load_memory_bytes: Greatest resident memory of a process that loads it. A replica loads
            the next model while it serves one and keeps the one before, so this is what fits in
            beside two models that are loaded already.
        load_seconds: Time to load it at an eighth of a core. A restarted replica serves nobody
            meanwhile, and 90 s after a machine's restart all must answer; the rest of that time is
            the machine's and the services' own.
        row_microseconds: Median time of ONNX Runtime for one row with a whole core. A request
            takes a replica about 100 without the model; the model must not more than double it.
    """

    model_bytes: int = 64_000_000
    load_memory_bytes: int = 1_000_000_000
    load_seconds: float = 25.0
    row_microseconds: float = 100.0


BUDGET = ServingBudget()
"""The one budget: the search leaves out what exceeds it, and the gate refuses it."""


@dataclass(frozen=True)
class ServingCost:
    """What a model costs.

    Attributes:
        model_bytes: Of the ONNX file.
        load_memory_bytes: Greatest resident memory of a process that loads and runs it.
        load_seconds: Time to load it at an eighth of a core, from its processor time.
        row_microseconds: Median time of one row, over different real rows.
        row_microseconds_p99: The 99th percentile of the same.
    """

    model_bytes: float
    load_memory_bytes: float
    load_seconds: float
    row_microseconds: float
    row_microseconds_p99: float

    def excess(self, budget: ServingBudget) -> list[str]:
        """A sentence for each limit that the model exceeds."""
        limits = (
            ("file", "MB", 1e6, self.model_bytes, budget.model_bytes),
            ("memory when loaded", "MB", 1e6, self.load_memory_bytes, budget.load_memory_bytes),
            ("time to load", "s", 1, self.load_seconds, budget.load_seconds),
            ("time for a row", "us", 1, self.row_microseconds, budget.row_microseconds),
        )
        return [
            f"Its {what} is {value / unit:.1f} {name}, more than the {limit / unit:.0f} {name} of "
            "the serving budget."
            for what, name, unit, value, limit in limits
            if value > limit
        ]


def measure(content: bytes, inputs: Floats) -> ServingCost:
    """Load a model in a new process and measure it.

    Args:
        content: Of the ONNX file.
        inputs: float32 [rows, len(INPUTS)], real rows; a few hundred of them are used.

    Raises:
        PipelineError: The model cannot be loaded or run.
    """
    chosen = inputs[:: max(1, len(inputs) // _PROBED_ROWS)][:_PROBED_ROWS]
    with tempfile.TemporaryDirectory() as folder:
        model, rows = Path(folder, "model.onnx"), Path(folder, "rows.npy")
        model.write_bytes(content)
        np.save(rows, chosen)
        try:
            probe = subprocess.run(
                [sys.executable, "-m", "covertype.serving_probe", model, rows],
                cwd=Path(__file__).parents[1],
                capture_output=True,
                text=True,
                check=True,
                timeout=_TIMEOUT_SECONDS,
            )
        except subprocess.CalledProcessError as error:
            last = (error.stderr.strip().splitlines() or [f"exit code {error.returncode}"])[-1]
            raise PipelineError(f"ONNX Runtime cannot load or run the model: {last:.300}") from None
        except subprocess.TimeoutExpired:
            raise PipelineError(
                f"ONNX Runtime did not load and run the model within {_TIMEOUT_SECONDS} s."
            ) from None
    found = json.loads(probe.stdout)
    return ServingCost(
        model_bytes=float(len(content)),
        load_memory_bytes=found["load_memory_bytes"],
        load_seconds=found["load_cpu_seconds"] / _SMALLEST_REPLICA_CPUS,
        row_microseconds=found["row_microseconds"],
        row_microseconds_p99=found["row_microseconds_p99"],
    )
