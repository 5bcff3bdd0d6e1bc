"""What is measured: the service and its peers, each as processes in limited control groups."""

import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import jinja2

from bench.cgroups import CpuGroup, run_in_group
from bench.paths import API, REPOSITORY, Folder
from bench.peers.variants import NO_MODEL, VARIANTS
from inference_api.cache import Cache, Snapshot
from inference_api.model import Identity
from inference_api.registry import ModelVersion, RegisteredModel, Registry

MODEL = "modelo1"
# Processors: the limited processes run on the last, the generator and nginx on the first.
_LIMITED_CPU = (os.cpu_count() or 1) - 1
OTHER_CPU = 0
_START_SECONDS = 120
_FIRST_PORT = 21000
# Where the deployment's nginx writes.
_NGINX_FOLDER = "/tmp/"  # noqa: S108
# Nothing listens there: the service serves from its local copy.
_NO_REGISTRY = "http://127.0.0.1:9"


@dataclass(frozen=True)
class Target:
    """A server that is measured.

    Attributes:
        name: As results call it.
        path: Of its predictions.
        ready_path: Answers once it can predict.
        bodies: Its requests' bodies, one a line.
        command: Returns the command that serves on a port.
    """

    name: str
    path: str
    ready_path: str
    bodies: Path
    command: Callable[[int], list[str]]


@dataclass(frozen=True)
class Running:
    """A target that runs.

    Attributes:
        target: The target.
        port: The published port, nginx's.
        group: The control groups of its replicas.
        replica_ports: The replicas' own ports.
    """

    target: Target
    port: int
    groups: list[CpuGroup]
    replica_ports: list[int]

    def memory_bytes(self) -> int:
        """Return the resident memory of all replicas."""
        pages = sum(
            int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            for group in self.groups
            for pid in group.processes()
        )
        return pages * os.sysconf("SC_PAGE_SIZE")

    def cpu_seconds(self) -> float:
        """Return the CPU time that all replicas have used."""
        return sum(group.cpu_seconds() for group in self.groups)


def targets(folder: Folder) -> list[Target]:
    """Return all targets; the service is the first."""

    def uvicorn(module: str) -> Callable[[int], list[str]]:
        return lambda port: [
            *(sys.executable, "-m", "uvicorn", f"bench.peers.{module}:app", "--port", str(port)),
            *("--loop", "uvloop", "--http", "httptools", "--no-access-log"),
            *("--log-level", "warning"),
        ]

    return [
        Target(
            "service",
            "/predict",
            "/health/ready",
            folder.bodies(1),
            lambda _: [sys.executable, "-m", "inference_api"],
        ),
        Target(
            "FastAPI, pydantic, ONNX Runtime",
            "/predict",
            "/docs",
            folder.bodies(1),
            uvicorn("onnx_fastapi"),
        ),
        Target(
            "FastAPI, pandas, scikit-learn",
            "/predict",
            "/docs",
            folder.bodies(1),
            uvicorn("sklearn_fastapi"),
        ),
        Target(
            "mlflow models serve",
            "/invocations",
            "/ping",
            folder.mlflow_bodies,
            lambda port: [
                *(sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local"),
                *("--model-uri", str(folder.mlflow_model), "--port", str(port)),
            ],
        ),
    ]


def variants(folder: Folder) -> list[Target]:
    """Return the forms of the service that were tried."""

    def command(variant: str) -> Callable[[int], list[str]]:
        return lambda _: [sys.executable, "-m", "bench.peers.variants", variant]

    return [
        Target(
            variant,
            "/predict",
            "/predict" if variant == NO_MODEL else "/health/ready",
            folder.bodies(1),
            command(variant),
        )
        for variant in VARIANTS
    ]


@contextmanager
def running(
    target: Target, number: int, replicas: int, cpus: float | None, folder: Folder, work: Path
) -> Iterator[Running]:
    """Run a target's replicas behind nginx; each is limited once it is ready.

    Args:
        target: What to run.
        number: A number of its own, from 0, for ports.
        replicas: How many replicas.
        cpus: What they have together; None: no limit.
        folder: The prepared folder.
        work: A folder for what they write.
    """
    first_port = _FIRST_PORT + 100 * number
    ports = [first_port + 1 + replica for replica in range(replicas)]
    with ExitStack() as stack:
        groups = []
        for replica, port in enumerate(ports):
            own = work / f"{number}-{replica}"
            own.mkdir(parents=True)
            environment = _environment(folder, own, port)
            group, _ = stack.enter_context(
                run_in_group(target.command(port), environment, own, _LIMITED_CPU)
            )
            groups.append(group)
        for port in ports:
            _wait_until_ready(f"http://127.0.0.1:{port}{target.ready_path}")
        if cpus is not None:
            for group in groups:
                group.limit(cpus / replicas)
        stack.enter_context(_nginx(first_port, target, ports, work / f"{number}-nginx"))
        yield Running(target, first_port, groups, ports)


def bare_loop(cpus: float, seconds: float, folder: Folder, work: Path) -> float:
    """Run the loop over the model alone, limited like one replica.

    Returns:
        Rows a second.
    """
    own = work / "loop"
    own.mkdir(parents=True)
    command = [sys.executable, "-m", "bench.peers.bare_loop", str(folder.path), str(seconds)]
    environment = {**os.environ, "PYTHONPATH": str(API)}
    try:
        with run_in_group(
            command, environment, own, _LIMITED_CPU, subprocess.PIPE, subprocess.PIPE
        ) as (group, loop):
            cast(IO[str], loop.stdout).readline()
            group.limit(cpus)
            output, _ = loop.communicate("go\n")
            return float(output)
    finally:
        shutil.rmtree(own)


def call_ways(folder: Folder, work: Path, rounds: int, huge_pages: bool) -> str:
    """Run the comparison of ways to call the model.

    Args:
        folder: The prepared folder.
        work: A folder for what it writes.
        rounds: How often each way has its turn.
        huge_pages: Whether large memory blocks use them.

    Returns:
        Lines of JSON.
    """
    own = work / f"calls-{huge_pages}"
    own.mkdir(parents=True)
    command = [sys.executable, "-m", "bench.peers.calls", str(folder.path), str(rounds)]
    environment = {**os.environ, "PYTHONPATH": str(API)}
    if huge_pages:
        environment["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
    with run_in_group(command, environment, own, _LIMITED_CPU, stdout=subprocess.PIPE) as (
        _,
        calls,
    ):
        output, _ = calls.communicate()
        return output


def _environment(folder: Folder, own: Path, port: int) -> Mapping[str, str]:
    cache = own / "cache"
    _fill_cache(folder, cache)
    return {
        **os.environ,
        # MLflow calls uvicorn by its name.
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
        "PYTHONPATH": str(API),
        "BENCH_FOLDER": str(folder.path),
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "CACHE_DIR": str(cache),
        "MLFLOW_TRACKING_URI": _NO_REGISTRY,
        "DEFAULT_MODEL": MODEL,
        # As containers have it: no pool of threads that fights for a fraction of a processor.
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


class _FolderRegistry(Registry):
    """Hands out the prepared files in place of MLflow."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder.path

    def artifact_base(self, name: str, version: str) -> str:
        return f"{name}/{version}"

    def download(self, base: str, path: str, target: Path) -> None:
        target.write_bytes((self._folder / path).read_bytes())


def _fill_cache(folder: Folder, directory: Path) -> None:
    """Make the local copy that a replica keeps."""
    identity = Identity(MODEL, "1", 0)
    cache = Cache(directory)
    cache.fetch(_FolderRegistry(folder), identity)
    version = ModelVersion("1", 0)
    model = RegisteredModel(0, "1", {"1": version}, None)
    cache.write_snapshot(Snapshot({MODEL: model}, {MODEL: identity}))


@contextmanager
def _nginx(port: int, target: Target, replica_ports: list[int], own: Path) -> Iterator[None]:
    """Run nginx with the deployment's configuration."""
    own.mkdir()
    template = REPOSITORY / "roles" / "nginx" / "templates" / "nginx.conf.j2"
    environment = jinja2.Environment(trim_blocks=True)  # noqa: S701 - no HTML is made
    text = environment.from_string(template.read_text()).render(
        nginx_worker_processes=1,
        nginx_worker_connections=8192,
        nginx_accept_queue=8192,
        nginx_health_port=port + 99,
        nginx_sites=[
            {
                "name": "replicas",
                "port": f"127.0.0.1:{port}",
                "servers": [f"127.0.0.1:{replica}" for replica in replica_ports],
                "idempotent_posts": [target.path],
                "max_requests": 512,
            }
        ],
    )
    configuration = own / "nginx.conf"
    configuration.write_text(text.replace(_NGINX_FOLDER, f"{own}/"))
    command = ["nginx", "-c", str(configuration), "-e", "stderr", "-g", "daemon off; user root;"]
    with run_in_group(command, os.environ, own, OTHER_CPU):
        _wait_until_ready(f"http://127.0.0.1:{port}{target.ready_path}")
        yield


def _wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - a loopback address
                return
        except (OSError, urllib.error.URLError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
