"""The operator's choices that outlive a run; the inventory hands them to Ansible."""

import json

from control.errors import ControlError
from control.project import Project, make_private_folder

MOST_REPLICAS = 16


def parse_replicas(text: str) -> int:
    """Read the number of replicas as the operator typed it.

    Raises:
        ControlError: it is no whole number in range.
    """
    if text in map(str, range(1, MOST_REPLICAS + 1)):
        return int(text)
    raise ControlError(
        f"REPLICAS must be a whole number from 1 to {MOST_REPLICAS}, and is "
        f"{text!r}: `make scale REPLICAS=4`."
    )


def save_replicas(project: Project, replicas: int) -> None:
    """Keep the number of inference replicas for this and every later deployment.

    Raises:
        ControlError: the settings that are there cannot be read.
    """
    path = project.settings
    try:
        settings = json.loads(path.read_text()) if path.exists() else {}
    except ValueError as error:
        raise ControlError(f"{path} is no JSON ({error}): mend or remove it.") from error
    settings["inference_replicas"] = replicas
    make_private_folder(path.parent)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(settings, indent=2) + "\n")
    # At once, so that a reader sees the old file or the new one.
    unfinished.replace(path)
