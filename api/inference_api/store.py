"""Which models are in memory, and the thread that follows the registry.

The event loop's thread only reads: a table from a client's selection to a loaded model, which
is replaced as a whole. Everything that takes time (polling, downloading, loading, warming up,
freeing) happens in one background thread.
"""

import asyncio
import ctypes
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from urllib.parse import quote, unquote

from inference_api import huge_pages
from inference_api.cache import Cache, Snapshot
from inference_api.cpu import on_one_cpu
from inference_api.metrics import LoadStatistics
from inference_api.model import Identity, LoadedModel, ModelRefusedError, load
from inference_api.problems import ServiceError
from inference_api.registry import (
    ArtifactError,
    RegisteredModel,
    Registry,
    RegistryError,
    RegistryState,
)
from inference_api.settings import Settings

logger = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 5
_MAX_PENDING_LOADS = 8
_FIRST_LOOK_SECONDS = 30.0
_FIRST_RETRY_SECONDS = 10.0
_LAST_RETRY_SECONDS = 600.0
# How soon the thread gives the interpreter back to the event loop that waits for it; Python's
# default of 5 ms is several predictions.
_SWITCH_INTERVAL_SECONDS = 0.0005
_NICE = 10
# A huge page where they are smallest. To look through all memory in vain at each poll took 1.2 % of
# an eighth of a core.
_NEW_BYTES = 2 * 1024**2
# Reasons that a damaged local copy can have: downloading it again may help.
_DAMAGED = frozenset({"sha256", "schema", "unreadable"})

_LOAD_ERRORS = (ModelRefusedError, ArtifactError, RegistryError, OSError)


@dataclass(frozen=True)
class Selection:
    """A client's choice: a model's version in production, or one certain version."""

    name: str
    version: str | None = None

    @classmethod
    def parse(cls, value: str) -> "Selection":
        """Read the value of the header or cookie."""
        name, _, version = value.partition("/")
        return cls(unquote(name), version or None)

    def __str__(self) -> str:
        """Return the value of the header or cookie."""
        name = quote(self.name, safe="")
        return f"{name}/{self.version}" if self.version else name


@dataclass
class _Refusal:
    error: Exception
    pause: float
    retry_at: float


class ModelStore:
    """The models in memory.

    Args:
        settings: The replica's settings.
        registry: The registry to follow.
        cache: The local copy; what it knows is taken up.
        clock: Seconds that never go back, on the same scale as :attr:`LoadedModel.last_used`.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        cache: Cache,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.default: LoadedModel | None = None
        """What answers a client that has selected nothing."""
        self.state: RegistryState = {}
        """The registry's last known state."""
        self.registry_reachable = False
        self.loads = LoadStatistics()

        self._settings = settings
        self._registry = registry
        self._cache = cache
        self._clock = clock
        self._table: dict[str, LoadedModel] = {}

        # Below: the background thread's own.
        self._loaded: dict[Identity, LoadedModel] = {}
        self._serving: dict[str, LoadedModel] = {}
        self._last_good: dict[str, Identity] = {}
        self._refusals: dict[Identity, _Refusal] = {}
        self._unwanted: set[Identity] = set()
        self._settled_bytes = 0
        self._registry_answered: bool | None = None
        self._saved = cache.read_snapshot()
        self.state = self._saved.models
        self._last_good.update(self._saved.serving)

        self._thread = threading.Thread(target=self._run, name="model-store", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread_id = 0
        self._stopping = threading.Event()
        self._first_look: Future[None] = Future()
        self._requests: queue.SimpleQueue[Selection | None] = queue.SimpleQueue()
        self._pending: dict[Selection, Future[LoadedModel]] = {}
        self._pending_lock = threading.Lock()

    # ------------------------------------------------------------ the event loop's side

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start following the registry; called by the event loop's thread.

        Args:
            loop: The loop whose thread predicts.
        """
        self._loop = loop
        self._loop_thread_id = threading.get_native_id()
        self._thread.start()

    async def wait_for_first_look(self) -> None:
        """Wait until the registry was looked at once and what it wants was loaded.

        Loading takes of the same share as predicting, and several times as long as a client would
        wait. So the time for it is before anyone can ask; but not for ever, as what is already
        there can answer.
        """
        try:
            await asyncio.wait_for(
                asyncio.shield(asyncio.wrap_future(self._first_look)), _FIRST_LOOK_SECONDS
            )
        except TimeoutError:
            logger.warning("the first look at the registry goes on while requests are answered")

    def stop(self) -> bool:
        """Tell the background thread to end after what it is doing.

        Returns:
            Whether it has ended; loading a large model cannot be interrupted.
        """
        self._stopping.set()
        self._requests.put(None)
        self._thread.join(timeout=1.0)
        return not self._thread.is_alive()

    def loaded_identities(self) -> list[tuple[Identity, bool]]:
        """Return the versions in memory, and whether each is the default model's."""
        default = self.default
        models = {id(model): model for model in self._table.values()}
        return [(model.identity, model is default) for model in models.values()]

    def is_loaded(self, name: str, version: str) -> bool:
        """Say whether a version is in memory."""
        return str(Selection(name, version)) in self._table

    def check(self, selection: Selection) -> str:
        """Check a selection against the known state of the registry.

        Returns:
            The version that it stands for now.

        Raises:
            ServiceError: 404, there is no such model or version; it names those there are.
        """
        model = self.state.get(selection.name)
        if model is None:
            raise ServiceError(
                404,
                f"There is no model {selection.name!r} with a version in production. "
                f"Known: {_listed(sorted(self.state))}.",
            )
        version = selection.version or model.production
        if version not in model.versions:
            raise ServiceError(
                404,
                f"Model {selection.name!r} has no version {version!r}. "
                f"Known: {_listed(sorted(model.versions, key=int))}.",
            )
        return version

    def find(self, value: str) -> LoadedModel | None:
        """Return the model that a client selected, if it is in memory.

        Args:
            value: The value of the header or cookie.
        """
        model = self._table.get(value)
        if model is None:
            model = self._table.get(str(Selection.parse(value)))
        if model is not None and "/" in value:
            model.selected_by_version = True
        return model

    async def load_selected(self, value: str) -> LoadedModel:
        """Return a model that a client selected and that is not in memory.

        Args:
            value: The value of the header or cookie.

        Raises:
            ServiceError: 404, there is no such model or version; 503, it cannot be had (now).
        """
        selection = Selection.parse(value)
        self.check(selection)
        future = self._request(selection)
        if future is None:
            raise ServiceError(
                503, "Too many models are waiting to be loaded.", RETRY_AFTER_SECONDS
            )
        try:
            # Shielded: others may wait for the same load.
            return await asyncio.wait_for(
                asyncio.shield(asyncio.wrap_future(future)), self._settings.load_wait_seconds
            )
        except TimeoutError:
            raise ServiceError(
                503, f"Model {str(selection)!r} is still being loaded.", RETRY_AFTER_SECONDS
            ) from None
        except _LOAD_ERRORS as error:
            raise ServiceError(
                503, f"Model {str(selection)!r} cannot be loaded: {error}", RETRY_AFTER_SECONDS
            ) from error

    def prefetch(self, selection: Selection) -> None:
        """Start loading a checked selection, if it is not in memory, and do not wait."""
        if str(selection) not in self._table:
            self._request(selection)

    def explain_no_default(self) -> ServiceError:
        """Return the error for a prediction while there is no default model."""
        name = self._settings.default_model
        known = self.state.get(name)
        if known is not None:
            identity = _identity(name, known, known.production)
            refusal = self._refusals.get(identity)
            if refusal is not None:
                detail = (
                    f"Version {known.production} of model {name!r} cannot be served: "
                    f"{refusal.error}. Promote another version, or run the pipeline: "
                    "make pipeline."
                )
            else:
                detail = f"Version {known.production} of model {name!r} is being loaded."
        elif not self.registry_reachable:
            detail = (
                "There is no model yet: the registry has not been reached and nothing was kept "
                "from an earlier run. Check that MLflow runs: make status."
            )
        else:
            detail = (
                f"There is no model yet: no version of {name!r} has the alias "
                f"{self._settings.production_alias!r}. Run the pipeline: make pipeline."
            )
        return ServiceError(503, detail, RETRY_AFTER_SECONDS)

    def _request(self, selection: Selection) -> Future[LoadedModel] | None:
        """Ask the background thread for a load; None if it has too many to do."""
        with self._pending_lock:
            future = self._pending.get(selection)
            if future is None:
                if len(self._pending) >= _MAX_PENDING_LOADS:
                    return None
                future = self._pending[selection] = Future()
                future.set_running_or_notify_cancel()  # no waiter can cancel it for the others
                self._requests.put(selection)
            return future

    # ------------------------------------------------------------ the background thread

    def _run(self) -> None:
        # The scheduler prefers the event loop's thread where both want the same core.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        sys.setswitchinterval(_SWITCH_INTERVAL_SECONDS)
        next_poll = self._clock()
        while not self._stopping.is_set():
            try:
                selection = self._requests.get(timeout=max(0.0, next_poll - self._clock()))
            except queue.Empty:
                self._guarded(self._poll)
                if not self._first_look.done():
                    self._first_look.set_result(None)
                next_poll = self._clock() + self._settings.registry_poll_seconds
                continue
            if selection is not None:
                self._answer_request(selection)

    def _guarded(self, step: Callable[[], None]) -> None:
        """Run a step; whatever goes wrong, the thread goes on and the next poll tries anew."""
        try:
            step()
        except Exception:
            logger.exception("the model store failed at a step")

    def _poll(self) -> None:
        try:
            state = self._registry.poll(self.state)
        except RegistryError as error:
            if self._registry_answered is not False:
                logger.warning("the registry is not reachable", extra={"reason": str(error)})
            self._registry_answered = self.registry_reachable = False
        else:
            if self._registry_answered is not True:
                logger.info("the registry is reachable", extra={"models": sorted(state)})
            self.state = state
            self._registry_answered = self.registry_reachable = True
        names = {self._settings.default_model, *self._serving}
        for name in names:
            self._bring_up(name)
        self._free_what_nobody_wants()
        for name in names:
            self._stand_by(name)
        self._save()
        self._put_new_memory_into_huge_pages()

    def _put_new_memory_into_huge_pages(self) -> None:
        """Look after the models that were loaded, and what connections have taken meanwhile."""
        own = huge_pages.own_bytes()
        self._settled_bytes = min(self._settled_bytes, own)
        if own < self._settled_bytes + _NEW_BYTES:
            return
        with on_one_cpu(self._loop_thread_id):
            huge_pages.collapse()
        self._settled_bytes = huge_pages.own_bytes()

    def _bring_up(self, name: str) -> None:
        """Serve a model's version in production; keep what is served if that fails."""
        try:
            self._serve(name)
        except RegistryError as error:
            logger.warning("a model could not be fetched", extra={"reason": str(error)})
        except (ModelRefusedError, ArtifactError, OSError):
            pass  # logged and counted where it was found; or there is nothing to serve

    def _stand_by(self, name: str) -> None:
        """Load the versions that may soon be in production, as far as there is room."""
        for identity in self._standby(name):
            if len(self._loaded) >= self._settings.max_loaded_models - 1:
                return  # the last place is for what a client selects
            if identity not in self._loaded:
                try:
                    self._load(identity)
                except RegistryError as error:
                    logger.warning("a model could not be fetched", extra={"reason": str(error)})
                except (ModelRefusedError, ArtifactError, OSError):
                    continue  # logged and counted where it was found
                self._replace_table()

    def _standby(self, name: str) -> list[Identity]:
        known = self.state.get(name)
        return [_identity(name, known, version) for version in known.standby] if known else []

    def _free_what_nobody_wants(self) -> None:
        """Free the versions that are neither served nor standing by nor selected by a client.

        That has to be so at two polls: a promotion changes one alias after the other, and between
        them nothing may say that the version before it is to stand by.
        """
        wanted = {model.identity for model in self._serving.values()}
        wanted.update(*(self._standby(name) for name in self._serving))
        unwanted = {
            identity
            for identity, model in self._loaded.items()
            if identity not in wanted and not model.selected_by_version
        }
        gone = unwanted & self._unwanted
        self._unwanted = unwanted - gone
        if gone:
            self._free(gone)
            self._prune()

    def _serve(self, name: str) -> LoadedModel:
        """Return a model's version in production, loaded; else the last one that was served.

        Where the registry no longer has the model in production, what is served goes on: an
        emptied registry must not take the service down.

        Raises:
            ModelRefusedError, ArtifactError, RegistryError, OSError: There is none.
        """
        known = self.state.get(name)
        wanted = _identity(name, known, known.production) if known else None
        serving = self._serving.get(name)
        if serving is not None and (wanted is None or serving.identity == wanted):
            return serving
        last_good = self._last_good.get(name)
        try:
            if wanted is None:
                raise ArtifactError(f"model {name!r} has no version in production")
            model = self._load(wanted)
        except _LOAD_ERRORS:
            if serving is not None or last_good is None or last_good == wanted:
                raise
            model = self._load(last_good)
        self._publish(name, model)
        return model

    def _load(self, identity: Identity) -> LoadedModel:
        """Return a version, from memory, the local copy or the registry.

        Raises:
            ModelRefusedError, ArtifactError, RegistryError, OSError: It cannot be had.
        """
        if identity in self._loaded:
            return self._loaded[identity]
        refusal = self._refusals.get(identity)
        if refusal is not None and self._clock() < refusal.retry_at:
            raise _without_frames(refusal.error)
        started = self._clock()
        try:
            model = self._fetch_and_load(identity)
        except RegistryError:
            self.loads.failed("registry")
            raise  # the next poll tries again
        except (ModelRefusedError, ArtifactError, OSError) as error:
            self._refuse(identity, error)
            raise
        self._refusals.pop(identity, None)
        seconds = self._clock() - started
        self.loads.loaded(seconds)
        model.last_used = self._clock()
        self._loaded[identity] = model
        _return_free_memory()
        logger.info(
            "a model was loaded",
            extra={
                "model": identity.name,
                "version": identity.version,
                "seconds": round(seconds, 3),
            },
        )
        return model

    def _fetch_and_load(self, identity: Identity) -> LoadedModel:
        here = self._cache.has(identity)
        if not here and not self.registry_reachable:
            raise RegistryError("the registry is not reachable and there is no local copy")
        directory = self._cache.fetch(self._registry, identity)
        self._make_room()
        try:
            with on_one_cpu(self._loop_thread_id):
                return load(identity, directory, self._settings.max_rows)
        except ModelRefusedError as error:
            if error.reason not in _DAMAGED or not here:
                raise
            logger.warning("a local copy is damaged", extra={"reason": str(error)})
        self._cache.discard(identity)
        directory = self._cache.fetch(self._registry, identity)
        with on_one_cpu(self._loop_thread_id):
            return load(identity, directory, self._settings.max_rows)

    def _refuse(
        self, identity: Identity, error: ModelRefusedError | ArtifactError | OSError
    ) -> None:
        if isinstance(error, ModelRefusedError):
            reason = error.reason
        else:
            reason = "artifact" if isinstance(error, ArtifactError) else "cache"
        self.loads.failed(reason)
        before = self._refusals.get(identity)
        pause = min(before.pause * 2, _LAST_RETRY_SECONDS) if before else _FIRST_RETRY_SECONDS
        self._refusals[identity] = _Refusal(_without_frames(error), pause, self._clock() + pause)
        logger.error(
            "a model was refused",
            extra={
                "model": identity.name,
                "version": identity.version,
                "reason": reason,
                "detail": str(error),
                "next_try_seconds": pause,
            },
        )

    def _publish(self, name: str, model: LoadedModel) -> None:
        """Let ``model`` answer for ``name`` from the next request on."""
        old = self._serving.get(name)
        self._serving[name] = model
        self._last_good[name] = model.identity
        if old is not None:
            model.last_used = max(model.last_used, old.last_used)
        # The same version number of an earlier model of that name, deleted since.
        for identity in list(self._loaded):
            same = (identity.name, identity.version) == model.identity[:2]
            if same and identity != model.identity:
                del self._loaded[identity]
        self._replace_table()

    def _make_room(self) -> None:
        """Free the least recently used versions, so that one more stays within the limit."""
        surplus = max(len(self._loaded) - self._settings.max_loaded_models + 1, 0)
        last_used = {
            identity: model.last_used
            for identity, model in self._loaded.items()
            if model is not self.default
        }
        self._free(sorted(last_used, key=last_used.__getitem__)[:surplus])

    def _free(self, identities: Iterable[Identity]) -> None:
        """Take versions out of memory."""
        freed = [self._loaded.pop(identity) for identity in identities]
        if not freed:
            return
        for model in freed:
            name, version, _ = model.identity
            if self._serving.get(name) is model:
                del self._serving[name]
            logger.info("a model was freed", extra={"model": name, "version": version})
        self._replace_table()
        # Last of all, and here: freeing a large graph must not delay the event loop.
        freed.clear()
        del model
        _return_free_memory()

    def _replace_table(self) -> None:
        """Show the event loop the present models, and wait until it uses no other."""
        table = {
            str(Selection(identity.name, identity.version)): model
            for identity, model in self._loaded.items()
        }
        table.update(
            {str(Selection(name)): model for name, model in self._serving.items()},
        )
        self._table = table
        self.default = self._serving.get(self._settings.default_model)
        # Predictions run within one turn of the loop. After the next turn this thread holds
        # the last reference to what was dropped, so freeing it does not delay a prediction.
        if self._loop is not None and not self._loop.is_closed():
            turned = threading.Event()
            try:
                self._loop.call_soon_threadsafe(turned.set)
            except RuntimeError:
                return  # closed meanwhile
            turned.wait(timeout=1.0)

    def _answer_request(self, selection: Selection) -> None:
        with self._pending_lock:
            future = self._pending[selection]
        try:
            model = self._load_requested(selection)
        except Exception as error:
            if not isinstance(error, _LOAD_ERRORS):
                logger.exception("a selected model could not be loaded")
            result: LoadedModel | Exception = error
        else:
            result = model
        with self._pending_lock:
            del self._pending[selection]
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)

    def _load_requested(self, selection: Selection) -> LoadedModel:
        if selection.version is None:
            model = self._serve(selection.name)
        else:
            known = self.state.get(selection.name)
            if known is None or selection.version not in known.versions:
                raise ArtifactError("the registry no longer has it")
            model = self._load(_identity(selection.name, known, selection.version))
            model.selected_by_version = True
            self._replace_table()
        self._save()
        return model

    def _save(self) -> None:
        """Keep what is known for the next life, if it changed."""
        snapshot = Snapshot(self.state, dict(self._last_good))
        if snapshot == self._saved:
            return
        try:
            self._cache.write_snapshot(snapshot)
        except OSError as error:
            logger.warning("the registry's state was not saved", extra={"reason": str(error)})
            return
        self._saved = snapshot
        self._prune()

    def _prune(self) -> None:
        """Leave local copies only of what is in memory and of what served last."""
        self._cache.prune({*self._loaded, *self._last_good.values()})


def _identity(name: str, model: RegisteredModel, version: str) -> Identity:
    return Identity(name, version, model.versions[version].created_ms)


def _without_frames(error: Exception) -> Exception:
    """Return an exception that is kept, or raised again, without what it came through.

    Its frames would keep the refused model in memory, and each raise would add more of them.
    """
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _listed(names: list[str]) -> str:
    shown = 10
    text = ", ".join(repr(name) for name in names[-shown:]) or "none"
    return text if len(names) <= shown else f"..., {text}"


def _return_free_memory() -> None:
    """Give free memory back to the system.

    Loading a graph needs more than keeping it: for one of 74 MB the process had 702 MiB after
    loading and 328 MiB after this call, which took 25 ms (measured).
    """
    ctypes.CDLL(None).malloc_trim(0)
