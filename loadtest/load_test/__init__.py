"""Load on the inference API, as its clients make it."""
