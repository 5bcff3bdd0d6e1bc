"""Measures the inference API beside others: ``python -m bench``."""

import sys

from bench.paths import REPOSITORY

# Where the model and the data come from.
sys.path += [str(REPOSITORY / "dags"), str(REPOSITORY / "data_api")]
