"""Lets one run at a time change the deployment."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from control.errors import ControlError
from control.project import Project, make_private_folder


@contextmanager
def exclusive(project: Project, verb: str) -> Iterator[None]:
    """Hold the deployment's lock; the kernel lets go of it however this process ends.

    Raises:
        ControlError: another run holds it; the message says which.
    """
    make_private_folder(project.deployment)
    with project.lock.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "another run"
            raise ControlError(
                f"{holder} is changing this deployment. Wait until it is over."
            ) from None
        lock.truncate(0)
        lock.write(f"`make {verb}` (process {os.getpid()})")
        lock.flush()
        yield
