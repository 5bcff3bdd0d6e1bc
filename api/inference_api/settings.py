"""Settings of one replica, read from environment variables."""

from pathlib import Path

from pydantic import Field, HttpUrl, SecretStr, model_validator
from pydantic_settings import BaseSettings


class Settings(BaseSettings):
    """What can be set; the variable's name is the field's name in capitals.

    Raises:
        pydantic.ValidationError: A value is missing or wrong; it names the field.
    """

    mlflow_tracking_uri: HttpUrl
    """Address of the MLflow server, which must proxy its artifacts."""
    mlflow_tracking_username: str = ""
    """User for basic authentication; empty: requests carry none."""
    mlflow_tracking_password: SecretStr = SecretStr("")
    production_alias: str = Field("production", min_length=1)
    """The alias that says which version of a model is served."""
    standby_aliases: tuple[str, ...] = ("candidate", "previous")
    """Versions with one of these are kept in memory beside the one in production, so that a
    promotion and the way back take effect at once; as JSON, ``["candidate"]``."""
    registry_poll_seconds: float = Field(3.0, gt=0)
    """Pause between two looks at the registry."""

    default_model: str = Field("modelo1", min_length=1)
    """The model that answers a client that has selected none."""
    max_loaded_models: int = Field(4, ge=2)
    """Versions in memory: the default model's, those that stand by, and at least one that a
    client selected."""
    load_wait_seconds: float = Field(15.0, gt=0)
    """How long a prediction waits for its selected version to be loaded."""
    cache_dir: Path = Path("/var/cache/inference-api")
    """Where downloaded versions and the last known state of the registry are kept."""

    host: str = "0.0.0.0"  # noqa: S104 - a container's port is published by whoever runs it
    port: int = Field(8000, ge=1, le=65535)
    socket_path: Path | None = None
    """A Unix socket that it listens at as well, for a proxy on the same machine: a request over it
    takes both of them less processor time than one over TCP."""
    max_body_bytes: int = Field(2 * 1024 * 1024, ge=1024)
    max_rows: int = Field(1000, ge=1)
    """The longest list that one prediction may hold."""
    max_wait_seconds: float = Field(1.8, gt=0)
    """A long list that has waited longer for its turn is refused: with its way there and back, none
    takes more than two seconds. Refusing a short one costs as much as answering it, so what stands
    before the replica is to refuse those, by the number of requests."""
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")

    @model_validator(mode="after")
    def _user_has_a_password(self) -> "Settings":
        if bool(self.mlflow_tracking_username) != bool(
            self.mlflow_tracking_password.get_secret_value()
        ):
            raise ValueError(
                "set both MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or neither"
            )
        return self
