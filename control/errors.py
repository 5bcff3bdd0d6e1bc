"""What can go wrong, as exceptions whose text is the sentence that the operator needs."""

import signal


class ControlError(Exception):
    """Something failed; the message says what, and what to do about it."""


class Interrupted(BaseException):
    """A signal asked the program to stop.

    Like KeyboardInterrupt it is no Exception, so that no handler takes it for a failure.

    Attributes:
        signal_number: the signal that came.
    """

    def __init__(self, signal_number: int = signal.SIGINT) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number

    @property
    def exit_code(self) -> int:
        """The code a shell gives a program that ended by this signal (130 for Ctrl-C)."""
        return 128 + self.signal_number
