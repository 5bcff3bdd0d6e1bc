"""Programs that measure; no test runs them."""
