from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from inference_api.settings import Settings

URI = "http://mlflow:5000"


def test_the_environment_sets_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "MLFLOW_TRACKING_URI": URI,
        "MLFLOW_TRACKING_USERNAME": "reader",
        "MLFLOW_TRACKING_PASSWORD": "secret",
        "PRODUCTION_ALIAS": "champion",
        "REGISTRY_POLL_SECONDS": "0.5",
        "DEFAULT_MODEL": "other",
        "MAX_LOADED_MODELS": "5",
        "STANDBY_ALIASES": '["next"]',
        "LOAD_WAIT_SECONDS": "9",
        "CACHE_DIR": "/cache",
        "HOST": "127.0.0.1",
        "PORT": "8001",
        "SOCKET_PATH": "/run/replica.sock",
        "MAX_BODY_BYTES": "4096",
        "MAX_ROWS": "10",
        "MAX_WAIT_SECONDS": "0.5",
        "LOG_LEVEL": "DEBUG",
    }.items():
        monkeypatch.setenv(name, value)
    settings = Settings()  # type: ignore[call-arg]
    assert str(settings.mlflow_tracking_uri) == URI + "/"
    assert settings.mlflow_tracking_password.get_secret_value() == "secret"
    assert settings.cache_dir == Path("/cache")
    assert settings.model_dump(exclude={"mlflow_tracking_uri", "mlflow_tracking_password"}) == {
        "mlflow_tracking_username": "reader",
        "production_alias": "champion",
        "registry_poll_seconds": 0.5,
        "default_model": "other",
        "max_loaded_models": 5,
        "standby_aliases": ("next",),
        "load_wait_seconds": 9,
        "cache_dir": Path("/cache"),
        "host": "127.0.0.1",
        "port": 8001,
        "socket_path": Path("/run/replica.sock"),
        "max_body_bytes": 4096,
        "max_rows": 10,
        "max_wait_seconds": 0.5,
        "log_level": "DEBUG",
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mlflow_tracking_uri", "mlflow"),
        ("mlflow_tracking_uri", "file:///tmp"),
        ("registry_poll_seconds", 0),
        ("max_loaded_models", 1),
        ("port", 0),
        ("port", 70000),
        ("max_rows", 0),
        ("default_model", ""),
        ("log_level", "loud"),
        ("mlflow_tracking_username", "without a password"),
        ("mlflow_tracking_password", "without a user"),
    ],
)
def test_wrong_values_are_refused(name: str, value: Any) -> None:
    values: dict[str, Any] = {"mlflow_tracking_uri": URI, name: value}
    with pytest.raises(ValidationError, match=f"(?i){name}") as error:
        Settings(**values)
    assert error.value.error_count() == 1
