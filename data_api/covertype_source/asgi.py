"""The application that a server runs: `covertype_source.asgi:app`."""

from covertype_source.app import create_app
from covertype_source.settings import Settings

app = create_app(Settings.from_environment())
