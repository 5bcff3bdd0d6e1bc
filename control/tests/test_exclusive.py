import subprocess
import sys
from pathlib import Path

import pytest

from control.errors import ControlError
from control.exclusive import exclusive
from control.project import Project

HOLD = """
import sys, time
from pathlib import Path
from control.exclusive import exclusive
from control.project import Project
with exclusive(Project(Path(sys.argv[1])), "up"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_second_run_is_refused_with_the_first_ones_name(project: Project) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, project.root],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
    )
    assert holder.stdout
    holder.stdout.readline()
    try:
        message = rf"`make up` \(process {holder.pid}\) is changing this deployment"
        with pytest.raises(ControlError, match=message), exclusive(project, "scale"):
            pass
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    # A lock outlives no process, however that ended.
    with exclusive(project, "scale"):
        assert "make scale" in project.lock.read_text()


def test_lock_can_be_taken_again(project: Project) -> None:
    for _ in range(2):
        with exclusive(project, "up"):
            pass
    assert project.lock.read_text().count("make up") == 1
