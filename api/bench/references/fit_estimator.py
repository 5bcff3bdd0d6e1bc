"""Fits the candidate in production once more and writes the estimator to standard output.

Run in a worker's container, where the pipeline and its logins are at hand: MLflow keeps the graph,
not the estimator. It is fitted to the rows that are loaded now.
"""

import ast
import pickle
import sys

import mlflow

from covertype.candidates import Candidate
from covertype.connections import of_worker
from covertype.dataset import encode, split
from covertype.training import available_cpus, fit

connections = of_worker("benchmark")
registry = connections.registry()
version = mlflow.MlflowClient().get_model_version(
    registry.tracking.model_name, str(registry.production())
)
params = mlflow.MlflowClient().get_run(version.run_id).data.params
name, family = params.pop("candidate"), params.pop("family")
params.pop("seed")


def _value(text: str) -> object:
    """MLflow keeps parameters as text."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


candidate = Candidate(name, family, {key: _value(text) for key, text in params.items()})
rows = split(encode(connections.store().read())).fit
sys.stdout.buffer.write(pickle.dumps(fit(candidate, rows, available_cpus())))
