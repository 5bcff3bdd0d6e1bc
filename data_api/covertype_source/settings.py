"""What the environment decides."""

import os
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """The settings of the service; each has the name of its environment variable as alias.

    Attributes:
        data_dir: The data set that `covertype_source.build` made; only read.
        state_dir: Where the progress of the groups is kept; must be writable.
        batch_seconds: How long a batch lasts, in seconds.
    """

    # Without the input, an error does not print the whole environment into the log.
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    data_dir: Path = Field(alias="DATA_DIR")
    state_dir: Path = Field(alias="STATE_DIR")
    batch_seconds: float = Field(alias="BATCH_SECONDS", default=5.0, gt=0, allow_inf_nan=False)

    @classmethod
    def from_environment(cls) -> Self:
        """Reads the environment variables.

        Raises:
            pydantic.ValidationError: A variable is missing or wrong; the message names it.
        """
        return cls.model_validate(dict(os.environ))
