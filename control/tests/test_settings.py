import json

import pytest

from control.errors import ControlError
from control.project import Project
from control.settings import parse_replicas, save_replicas


@pytest.mark.parametrize("text", ["1", "4", "16"])
def test_good_numbers(text: str) -> None:
    assert parse_replicas(text) == int(text)


@pytest.mark.parametrize("text", ["", "0", "17", "-1", "2.5", "four", "04", "٤", "9" * 5000])
def test_bad_numbers_name_the_variable(text: str) -> None:
    with pytest.raises(ControlError, match="REPLICAS must be a whole number from 1 to 16"):
        parse_replicas(text)


def test_other_settings_stay(project: Project) -> None:
    save_replicas(project, 2)
    assert json.loads(project.settings.read_text()) == {"inference_replicas": 2}
    project.settings.write_text('{"other": true, "inference_replicas": 2}')
    save_replicas(project, 4)
    assert json.loads(project.settings.read_text()) == {"other": True, "inference_replicas": 4}


def test_broken_settings_are_not_overwritten(project: Project) -> None:
    project.deployment.mkdir()
    project.settings.write_text("{")
    with pytest.raises(ControlError, match="is no JSON"):
        save_replicas(project, 4)
    assert project.settings.read_text() == "{"
