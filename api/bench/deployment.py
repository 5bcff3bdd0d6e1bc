"""The deployed platform as the benchmark uses it."""

import asyncio
import json
import os
import random
import shlex
import ssl
import tempfile
import time
import urllib.request
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.generator import Target

_PREFIX = "inference-api-"
_WORKER = "airflow-worker-1"
_DAGS = "/opt/airflow/dags"
_API = Path(__file__).resolve().parents[1]
# A folder on the machine for the references, and the port that one of them is published on.
_REMOTE = "/tmp/mlops-benchmark"  # noqa: S108 - made anew by root, and removed
_REFERENCE_PORT = 18000
# Its data is nobody else's: groups of the data API are independent.
_GROUP = 10
_COMMAND_SECONDS = 900.0
_HEALTHY_SECONDS = 180.0


class BenchmarkError(Exception):
    """The benchmark cannot go on; the message says why."""


@dataclass(frozen=True)
class Replica:
    """The limits of a replica, as the kernel has them.

    Attributes:
        name: its container.
        cpus: processors.
        cpu_period: of the scheduler, in microseconds.
        memory_bytes: memory.
    """

    name: str
    cpus: float
    cpu_period: int
    memory_bytes: int


class Deployment:
    """The platform on one machine, and this repository's commands for it.

    Args:
        address: the machine's.
        ports: the published ports, by service.
        ssh: the command that runs another one on the machine.
        top: the repository's top folder.
        ansible_playbook: the program.
        authority: the file with the certificate of the authority that MLflow's is from.
        mlflow_password: of MLflow's user `admin`.
    """

    def __init__(
        self,
        address: str,
        ports: dict[str, int],
        ssh: Sequence[str],
        top: Path,
        ansible_playbook: Path,
        authority: Path,
        mlflow_password: str,
    ) -> None:
        self.address = address
        self._ports = ports
        self._ssh = list(ssh)
        self._top = top
        self._ansible_playbook = ansible_playbook
        self._trust = ssl.create_default_context(cafile=str(authority))
        self._mlflow_login = b64encode(f"admin:{mlflow_password}".encode()).decode()

    # --- the machine

    async def run(self, command: str, stdin: bytes = b"") -> bytes:
        """Run a shell command on the machine as root and give what it prints.

        Raises:
            BenchmarkError: it failed.
        """
        return await _run([*self._ssh, f"sudo bash -c {shlex.quote(command)}"], stdin)

    async def describe(self) -> dict[str, Any]:
        """What the figures were measured on."""
        script = (
            "nproc; grep -m1 'model name' /proc/cpuinfo | cut -d: -f2-; "
            "awk '/MemTotal/ {print $2 * 1024}' /proc/meminfo; uname -r; "
            "stat --file-system --format %T /sys/fs/cgroup"
        )
        lines = (await self.run(script)).decode().splitlines()
        cores, model, memory, kernel, hierarchy = (line.strip() for line in lines)
        return {
            "processors": int(cores),
            "processor": model,
            "memory_gib": round(float(memory) / 2**30, 1),
            "kernel": kernel,
            "cgroup": 2 if hierarchy == "cgroup2fs" else 1,
        }

    async def replicas(self) -> list[Replica]:
        """The running replicas, with the limits that the kernel's control groups have."""
        script = f"""
            for name in $(docker ps --format '{{{{.Names}}}}' --filter name=^{_PREFIX}); do
                echo $name $(docker exec $name sh -c '
                    cd /sys/fs/cgroup
                    if [ -f cpu.max ]; then cat cpu.max memory.max
                    else cat cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us memory/memory.limit_in_bytes
                    fi')
            done"""
        found = []
        for line in (await self.run(script)).decode().splitlines():
            name, quota, period, memory = line.split()
            found.append(Replica(name, int(quota) / int(period), int(period), int(memory)))
        return sorted(found, key=lambda replica: replica.name)

    async def wait_until_healthy(self, name: str) -> float:
        """Wait until a container is healthy again; gives how many seconds that took."""
        began = time.monotonic()
        show = f"docker inspect --format '{{{{.State.Health.Status}}}}' {name}"
        while (await self.run(show)).strip() != b"healthy":
            if time.monotonic() - began > _HEALTHY_SECONDS:
                raise BenchmarkError(f"{name} was not healthy after {_HEALTHY_SECONDS:.0f} s.")
            await asyncio.sleep(0.5)
        return time.monotonic() - began

    async def kill(self, name: str) -> None:
        """End a container's process as the kernel would; Docker starts it again."""
        await self.run(f"kill -KILL $(docker inspect --format '{{{{.State.Pid}}}}' {name})")

    async def uses(self) -> dict[str, tuple[int, int]]:
        """For each replica the memory in use in bytes and how often it was started again."""
        script = f"""
            for name in $(docker ps --format '{{{{.Names}}}}' --filter name=^{_PREFIX}); do
                echo $name $(docker exec $name sh -c '
                    cd /sys/fs/cgroup
                    [ -f memory.stat ] && file=memory.stat || file=memory/memory.stat
                    awk "/^(anon|total_rss) / {{print \\$2}}" $file') \\
                    $(docker inspect --format '{{{{.RestartCount}}}}' $name)
            done"""
        lines = (await self.run(script)).decode().splitlines()
        return {name: (int(used), int(starts)) for name, used, starts in map(str.split, lines)}

    # --- the inference API

    def target(self, bodies: Sequence[bytes]) -> Target:
        """Predictions of these bodies, through nginx."""
        port = self._ports["inference_api"]
        return Target.posting(self.address, port, "/predict", bodies, self._trust)

    @property
    def url(self) -> str:
        """The inference API's address."""
        return f"https://{self.address}:{self._ports['inference_api']}"

    async def rows(self) -> list[dict[str, Any]]:
        """Real observations, from one call of the data API, in random order."""
        example = json.loads((self._top / "control" / "example.json").read_text())
        base = f"http://{self.address}:{self._ports['data_api']}"
        await _get(f"{base}/restart_data_generation?group_number={_GROUP}")
        answer = await _get(f"{base}/data?group_number={_GROUP}")
        # The columns come in the order of the contract, with the class last.
        rows = [
            {
                name: (float(value) if isinstance(given, int | float) else value)
                for (name, given), value in zip(example.items(), row[:-1], strict=True)
            }
            for row in answer["data"]
        ]
        random.Random(1).shuffle(rows)  # noqa: S311 - no secret
        return rows

    async def production(self) -> dict[str, Any]:
        """The model in production, as the API tells it."""
        models = await _get(f"{self.url}/models", trust=self._trust)
        if not models["models"]:
            raise BenchmarkError("No model is in production yet: `make up` trains the first.")
        first: dict[str, Any] = models["models"][0]
        return first

    async def scale(self, replicas: int) -> None:
        """Cut the budget into another number of replicas, as `make scale` does it."""
        await _run(["make", "scale", f"REPLICAS={replicas}"], cwd=self._top)

    async def roll_out_other_image(self, replicas: int) -> None:
        """Deploy the replicas with an image of other content, as a new release would."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "api")
            await _run(["cp", "--recursive", str(self._top / "api"), str(source)])
            module = source / "inference_api" / "__init__.py"
            module.write_text(module.read_text() + f"\nRELEASE = {time.time()}\n")
            await _run(
                [
                    *(str(self._ansible_playbook), "playbooks/scale.yml"),
                    *("--extra-vars", f"inference_replicas={replicas}"),
                    *("--extra-vars", f"inference_api_source={source}"),
                ],
                cwd=self._top / "ansible",
                path=self._ansible_playbook.parent,
            )

    # --- MLflow

    async def versions(self, model: str) -> list[str]:
        """The registered versions of a model, the newest first."""
        query = f"filter=name%3D%27{model}%27&max_results=50"
        found = await self._mlflow(f"model-versions/search?{query}")
        return sorted((one["version"] for one in found["model_versions"]), key=int, reverse=True)

    async def set_alias(self, model: str, alias: str, version: str) -> None:
        """Give an alias to a version."""
        body = {"name": model, "alias": alias, "version": version}
        await self._mlflow("registered-models/alias", body)

    async def aliases(self, model: str) -> dict[str, str]:
        """The aliases of a model and their versions."""
        found = await self._mlflow(f"registered-models/get?name={model}")
        return {one["alias"]: one["version"] for one in found["registered_model"]["aliases"]}

    async def _mlflow(self, path: str, body: object = None) -> Any:
        url = f"https://{self.address}:{self._ports['mlflow']}/api/2.0/mlflow/{path}"
        headers = {"Authorization": f"Basic {self._mlflow_login}"}
        return await _get(url, body, headers, self._trust)

    # --- the references

    async def prepare_references(self, rows: list[dict[str, Any]]) -> None:
        """Lay down what the references need: programs, rows, graph, estimator."""
        await self.run(f"rm -rf {_REMOTE}; mkdir -m 0755 {_REMOTE}")
        await self.run(f"tar -C {_REMOTE} -x", await _run(["tar", "-C", str(_API), "-c", "bench"]))
        await self.run(f"cat > {_REMOTE}/rows.json", json.dumps(rows).encode())
        model = await self.production()
        # A replica's own copy of the version in production.
        replica = (await self.replicas())[0].name
        pattern = f"/var/cache/inference_api/models/{model['name']}@{model['version']}@*"
        await self.run(
            f"mkdir {_REMOTE}/model && docker exec {replica} sh -c 'tar -C {pattern} -c .' "
            f"| tar -C {_REMOTE}/model -x && chmod -R a+rX {_REMOTE}/model"
        )
        await self.run(
            f"docker exec --interactive --workdir {_DAGS} {_WORKER} with-secrets python - "
            f"> {_REMOTE}/estimator.pickle",
            (_API / "bench" / "references" / "fit_estimator.py").read_bytes(),
        )

    async def bare_loop(self, cpus: float, period: int, seconds: float) -> float:
        """Rows a second of the bare loop over the model."""
        image = await self._image(f"{_PREFIX}1")
        printed = await self.run(
            f"docker run --rm {_limits(cpus, period)} --volume {_REMOTE}:{_REMOTE}:ro "
            f"--env PYTHONPATH={_REMOTE} --entrypoint python {image} "
            f"-m bench.references.bare_loop {_REMOTE}/model "
            f"{_REMOTE}/rows.json {seconds}"
        )
        return float(json.loads(printed)["per_second"])

    @asynccontextmanager
    async def server(
        self, kind: str, cpus: float, period: int, bodies: Sequence[bytes]
    ) -> AsyncIterator[Target]:
        """Have a server of the references running, published without nginx before it.

        Args:
            kind: one of `SERVERS`.
            cpus: its processors.
            period: of the scheduler, in microseconds.
            bodies: what it is to predict.
        """
        image, environment = SERVERS[kind]
        name = f"benchmark-{kind.replace('_', '-')}"
        await self.run(
            f"docker run --detach --rm --name {name} {_limits(cpus, period)} "
            f"--publish {_REFERENCE_PORT}:8000 --volume {_REMOTE}:{_REMOTE}:ro {environment} "
            f"--entrypoint python {await self._image(image)} "
            f"-m uvicorn bench.references.{kind}:app --host 0.0.0.0 --port 8000 "
            "--no-access-log --log-level warning"
        )
        try:
            await self._wait_until_listening(name)
            yield Target.posting(self.address, _REFERENCE_PORT, "/predict", bodies)
        finally:
            await self.run(f"docker rm --force {name}")

    async def remove_references(self) -> None:
        """Remove what the references needed."""
        await self.run(f"rm -rf {_REMOTE}")

    async def _wait_until_listening(self, name: str) -> None:
        deadline = time.monotonic() + _HEALTHY_SECONDS
        while time.monotonic() < deadline:
            try:
                await _get(f"http://{self.address}:{_REFERENCE_PORT}/openapi.json")
            except OSError:
                await asyncio.sleep(0.5)
            else:
                return
        log = (await self.run(f"docker logs --tail 20 {name} 2>&1")).decode()
        raise BenchmarkError(f"{name} does not answer:\n{log}")

    async def _image(self, container: str) -> str:
        shown = await self.run(f"docker inspect --format '{{{{.Config.Image}}}}' {container}")
        return shown.decode().strip()


# The references with an application, by their program in `references/`: the container whose image
# each runs in, and its options.
SERVERS = {
    "fastapi_onnx": (
        f"{_PREFIX}1",
        f"--env PYTHONPATH={_REMOTE} --env MODEL_FOLDER={_REMOTE}/model",
    ),
    "sklearn_pandas": (
        _WORKER,
        f"--volume /srv/mlops/airflow/dags:{_DAGS}:ro --env PYTHONPATH={_REMOTE}:{_DAGS} "
        f"--env ESTIMATOR={_REMOTE}/estimator.pickle",
    ),
}


def _limits(cpus: float, period: int) -> str:
    return f"--cpu-period {period} --cpu-quota {round(cpus * period)} --memory 10g --user 65534"


async def _run(
    command: Sequence[str], stdin: bytes = b"", cwd: Path | None = None, path: Path | None = None
) -> bytes:
    """Run a command and give what it prints.

    Raises:
        BenchmarkError: it failed or took too long.
    """
    environment = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}"} if path else None
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=cwd,
        env=environment,
    )
    try:
        printed, errors = await asyncio.wait_for(
            process.communicate(stdin or None), _COMMAND_SECONDS
        )
    except TimeoutError:
        process.kill()
        raise BenchmarkError(f"{command[-1]} took over {_COMMAND_SECONDS:.0f} s.") from None
    if process.returncode != 0:
        said = (printed + errors).decode(errors="replace")[-2000:]
        raise BenchmarkError(f"{command[-1]} failed with {process.returncode}:\n{said}")
    return printed


async def _get(
    url: str,
    body: object = None,
    headers: dict[str, str] | None = None,
    trust: ssl.SSLContext | None = None,
) -> Any:
    """Ask a service for JSON, with POST if there is a body."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(  # noqa: S310 - the deployment's own addresses
        url, data, {"Content-Type": "application/json", **(headers or {})}
    )

    def ask() -> Any:
        with urllib.request.urlopen(request, timeout=30, context=trust) as answer:  # noqa: S310
            return json.load(answer)

    return await asyncio.to_thread(ask)
