"""A small made data set, a clock that stands still, and a client."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from covertype_source.app import create_app
from covertype_source.covertype import COLUMNS
from covertype_source.dataset import write_dataset
from covertype_source.settings import Settings
from tests.fakes import BATCH_SECONDS, ROW_COUNT, Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set whose rows begin with their own position."""
    directory = tmp_path_factory.mktemp("data")
    filler = [str(value) for value in range(len(COLUMNS) - 1)]
    write_dataset(directory, ([str(position), *filler] for position in range(ROW_COUNT)))
    return directory


@pytest.fixture
def settings(data_dir: Path, tmp_path: Path) -> Settings:
    return Settings(DATA_DIR=data_dir, STATE_DIR=tmp_path / "state", BATCH_SECONDS=BATCH_SECONDS)


@pytest.fixture
def client(settings: Settings, clock: Clock) -> Iterator[TestClient]:
    with TestClient(create_app(settings, clock=clock)) as client:
        yield client
