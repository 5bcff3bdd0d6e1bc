"""The replica's local copy: downloaded versions and the last known state of the registry.

With it a replica that restarts while MLflow is down serves what it served before. Everything
appears in the folder by an atomic rename. Each replica has a folder of its own: it removes what
it does not use itself.
"""

import hashlib
import logging
import shutil
import tempfile
from collections.abc import Collection
from pathlib import Path
from urllib.parse import quote

import msgspec

from inference_api.model import MLMODEL_FILE, Identity, read_schema, verify
from inference_api.registry import Registry, RegistryState

logger = logging.getLogger(__name__)

_PART_PREFIX = ".part-"
_SHOWN_CHARACTERS = 60


class Snapshot(msgspec.Struct, frozen=True):
    """What a replica knows, as it is kept between its lives.

    Attributes:
        models: The registry's last known state.
        serving: The version of each model that was answered with. It is not always the one
            in production: a broken version is refused and the one before it goes on.
    """

    models: RegistryState = {}
    serving: dict[str, Identity] = {}


class Cache:
    """The folder with the local copy. It is used by one thread.

    Args:
        directory: Where it is; made if missing.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._versions = directory / "models"
        self._snapshot_file = directory / "registry.json"
        self._versions.mkdir(parents=True, exist_ok=True)
        self._remove_abandoned()

    def has(self, identity: Identity) -> bool:
        """Say whether a version is here, whole."""
        return self._path(identity).is_dir()

    def fetch(self, registry: Registry, identity: Identity) -> Path:
        """Return the folder with a version's files, downloading them if they are not here.

        Raises:
            RegistryError: The registry cannot be reached or breaks off.
            ArtifactError: The registry does not have the files.
            ModelRefusedError: The schema is unusable or the graph's digest differs.
            OSError: The folder cannot be written.
        """
        target = self._path(identity)
        if target.is_dir():
            return target
        base = registry.artifact_base(identity.name, identity.version)
        part = Path(tempfile.mkdtemp(prefix=_PART_PREFIX, dir=self._versions))
        try:
            registry.download(base, MLMODEL_FILE, part / MLMODEL_FILE)
            schema = read_schema(part / MLMODEL_FILE)
            graph = part / schema.onnx.file
            registry.download(base, schema.onnx.file, graph)
            verify(graph, schema.onnx.sha256)
            part.rename(target)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return target

    def discard(self, identity: Identity) -> None:
        """Remove one version, so that the next :meth:`fetch` downloads it again."""
        shutil.rmtree(self._path(identity), ignore_errors=True)

    def prune(self, keep: Collection[Identity]) -> None:
        """Remove every version but those in ``keep``."""
        names = {self._path(identity).name for identity in keep}
        for path in self._versions.iterdir():
            if path.name not in names:
                shutil.rmtree(path, ignore_errors=True)

    def read_snapshot(self) -> Snapshot:
        """Return what was saved last; an empty one if there is none or it is unreadable."""
        try:
            return msgspec.json.decode(self._snapshot_file.read_bytes(), type=Snapshot)
        except FileNotFoundError:
            return Snapshot()
        except (OSError, ValueError) as error:
            logger.warning("the saved registry state is unreadable", extra={"reason": str(error)})
            return Snapshot()

    def write_snapshot(self, snapshot: Snapshot) -> None:
        """Save what the replica knows.

        Raises:
            OSError: The folder cannot be written.
        """
        with tempfile.NamedTemporaryFile(
            prefix=_PART_PREFIX, dir=self._directory, delete=False
        ) as file:
            part = Path(file.name)
            try:
                file.write(msgspec.json.encode(snapshot))
                file.close()
                part.replace(self._snapshot_file)
            finally:
                part.unlink(missing_ok=True)

    def _path(self, identity: Identity) -> Path:
        # A name may be longer than a file's may be; the digest keeps two of them apart.
        digest = hashlib.sha256(msgspec.json.encode(identity)).hexdigest()[:16]
        name = quote(identity.name, safe="")[:_SHOWN_CHARACTERS]
        return self._versions / f"{name}@{identity.version}@{digest}"

    def _remove_abandoned(self) -> None:
        """Remove what the replica was writing when it was killed."""
        for path in self._versions.glob(f"{_PART_PREFIX}*"):
            shutil.rmtree(path, ignore_errors=True)
        for path in self._directory.glob(f"{_PART_PREFIX}*"):
            path.unlink(missing_ok=True)
