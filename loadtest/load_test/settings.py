"""Settings of the load generator, read from environment variables."""

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# How long a client waits after a prediction before it begins again, at least and at most.
WAIT_SECONDS = (1.0, 2.5)


class SettingsError(Exception):
    """A variable is missing, or what it names is not there; the message says which."""


@dataclass(frozen=True)
class Settings:
    """What can be set.

    Attributes:
        target_url: `TARGET_URL`, the base address of the inference API.
        model_name: `MODEL_NAME`, the model that clients ask for.
        questions: The bodies of predictions, from the file `QUESTIONS_FILE`, one a line.
        authority_file: `AUTHORITY_FILE`, with the certificate that the target's is checked with;
            empty for those that the system trusts.
    """

    target_url: str
    model_name: str
    questions: tuple[str, ...]
    authority_file: str = ""

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read the variables and the questions.

        Raises:
            SettingsError: A variable is missing, or there are no questions.
        """
        names = ("TARGET_URL", "MODEL_NAME", "QUESTIONS_FILE")
        missing = [name for name in names if not environment.get(name)]
        if missing:
            raise SettingsError(f"{', '.join(missing)} must be set")
        file = Path(environment["QUESTIONS_FILE"])
        try:
            questions = tuple(file.read_text(encoding="ascii").splitlines())
        except (OSError, ValueError) as error:
            raise SettingsError(f"QUESTIONS_FILE: {error}") from error
        if not questions:
            raise SettingsError(f"QUESTIONS_FILE: {file} is empty")
        settings = cls(
            environment["TARGET_URL"].rstrip("/"),
            environment["MODEL_NAME"],
            questions,
            environment.get("AUTHORITY_FILE", ""),
        )
        try:
            settings.trust()
        except OSError as error:
            raise SettingsError(f"AUTHORITY_FILE: {error}") from error
        return settings

    def trust(self) -> ssl.SSLContext:
        """What the target's certificate is checked with.

        Raises:
            OSError: The authority's file is not there, or is none.
        """
        context = ssl.create_default_context(cafile=self.authority_file or None)
        # A server's certificate can be trusted itself, whoever has signed it.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        return context
