from pathlib import Path

import pytest
from pydantic import ValidationError

from covertype_source.settings import Settings


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DIR", "/data")
    monkeypatch.setenv("STATE_DIR", "/state")
    monkeypatch.delenv("BATCH_SECONDS", raising=False)


def test_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCH_SECONDS", "0.5")

    settings = Settings.from_environment()

    assert settings.data_dir == Path("/data")
    assert settings.state_dir == Path("/state")
    assert settings.batch_seconds == 0.5


def test_a_batch_lasts_five_seconds_unless_said_otherwise() -> None:
    assert Settings.from_environment().batch_seconds == 5.0


@pytest.mark.parametrize("name", ["DATA_DIR", "STATE_DIR"])
def test_missing_variable_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(name)

    with pytest.raises(ValidationError, match=name):
        Settings.from_environment()


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "five", ""])
def test_wrong_duration_is_named_without_showing_the_environment(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCH_SECONDS", value)
    monkeypatch.setenv("PASSWORD", "not-to-be-printed")

    with pytest.raises(ValidationError, match="BATCH_SECONDS") as caught:
        Settings.from_environment()

    assert "not-to-be-printed" not in str(caught.value)
