"""The benchmark of a deployed inference API: `python -m bench`, run by `make benchmark`."""
