"""What the tests have in common."""

ROW_COUNT = 1_007  # not a multiple of ten, so the slices differ in size
BATCH_SECONDS = 5.0


class Clock:
    """Gives the time that a test sets."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now
