"""The deployed platform as the benchmark uses it."""

import asyncio
import json
import os
import random
import shlex
import ssl
import sys
import tempfile
import time
import urllib.request
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.generator import Target

REPLICA_PREFIX = "inference-api-"

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


@dataclass(frozen=True)
class Use:
    """What a replica uses.

    Attributes:
        memory_bytes: memory that is its own.
        restarts: how often it was started again.
    """

    memory_bytes: int
    restarts: int


class Deployment:
    """The platform on one machine, and this repository's commands for it.

    Args:
        address: the machine's.
        ports: the published ports, by service.
        ssh: the command that runs another one on the machine.
        top: the repository's top folder.
        ansible_playbook: the program.
        trusted: files with the certificates that the platform's is checked with.
        mlflow_password: of MLflow's user `admin`.
    """

    def __init__(
        self,
        address: str,
        ports: dict[str, int],
        ssh: Sequence[str],
        top: Path,
        ansible_playbook: Path,
        trusted: Sequence[Path],
        mlflow_password: str,
    ) -> None:
        self.address = address
        self.ports = ports
        self._ssh = list(ssh)
        self._top = top
        self._ansible_playbook = ansible_playbook
        # One text of all: what sends random requests takes a single file.
        self._trusted = "".join(file.read_text() for file in trusted)
        self._trust = ssl.create_default_context(cadata=self._trusted)
        # A server's certificate can be trusted itself, whoever has signed it.
        self._trust.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        self._mlflow_login = b64encode(f"admin:{mlflow_password}".encode()).decode()

    # --- the machine

    async def run(self, command: str, stdin: bytes = b"") -> bytes:
        """Run a shell command on the machine as root and give what it prints.

        Raises:
            BenchmarkError: it failed.
        """
        return await _run([*self._ssh, f"sudo bash -c {shlex.quote(command)}"], stdin)

    async def copy(self, folder: Path, name: str, to: str) -> None:
        """Copy a folder of this repository into one on the machine."""
        packed = await _run(["tar", "-C", str(folder), "--exclude", "__pycache__", "-c", name])
        await self.run(f"tar -C {to} -x", packed)

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
            for name in $(docker ps --format '{{{{.Names}}}}' --filter name=^{REPLICA_PREFIX}); do
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

    async def wait_until_loaded(self, model: str) -> None:
        """Wait until each replica has all versions in memory that the aliases of a model want.

        One that was just made serves before it has those that stand by, and loads them with what
        predictions leave of its share.
        """
        wanted = len(set((await self.aliases(model)).values()))
        began = time.monotonic()
        script = f"""
            for name in $(docker ps --format '{{{{.Names}}}}' --filter name=^{REPLICA_PREFIX}); do
                docker exec $name curl --silent http://127.0.0.1:8000/metrics \
                    | grep --count '^inference_model_info.* 1'
            done"""
        while min(map(int, (await self.run(script)).split())) < wanted:
            if time.monotonic() - began > _HEALTHY_SECONDS:
                raise BenchmarkError(f"Not all versions of {model} were loaded in time.")
            await asyncio.sleep(1)

    async def kill(self, name: str) -> None:
        """End a container's process as the kernel would; Docker starts it again."""
        await self.run(f"kill -KILL $(docker inspect --format '{{{{.State.Pid}}}}' {name})")

    async def uses(self) -> dict[str, Use]:
        """What each replica uses, by its container."""
        script = f"""
            for name in $(docker ps --format '{{{{.Names}}}}' --filter name=^{REPLICA_PREFIX}); do
                echo $name $(docker exec $name sh -c '
                    cd /sys/fs/cgroup
                    [ -f memory.stat ] && file=memory.stat || file=memory/memory.stat
                    awk "/^(anon|total_rss) / {{print \\$2}}" $file') \\
                    $(docker inspect --format '{{{{.RestartCount}}}}' $name)
            done"""
        lines = (await self.run(script)).decode().splitlines()
        return {name: Use(int(used), int(starts)) for name, used, starts in map(str.split, lines)}

    # --- the inference API

    def target(self, bodies: Sequence[bytes]) -> Target:
        """Predictions of these bodies, through nginx."""
        return self.posting(self.ports["inference_api"], "/predict", bodies)

    def posting(self, port: int, path: str, bodies: Sequence[bytes]) -> Target:
        """Requests by HTTPS to a port of the machine."""
        return Target.posting(self.address, port, path, bodies, self._trust)

    @property
    def url(self) -> str:
        """The inference API's address."""
        return f"https://{self.address}:{self.ports['inference_api']}"

    async def rows(self) -> list[dict[str, Any]]:
        """Real observations, from one call of the data API, in random order."""
        example = json.loads((self._top / "control" / "example.json").read_text())
        base = f"http://{self.address}:{self.ports['data_api']}"
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

    async def fuzz(self, examples: int) -> dict[str, int]:
        """Send requests drawn from the OpenAPI document, and give the answers by status.

        Args:
            examples: for each operation with a body, and as many that are wrong.

        Raises:
            BenchmarkError: an answer is not what the document says.
        """
        with tempfile.NamedTemporaryFile("w", suffix=".crt") as bundle:
            bundle.write(self._trusted)
            bundle.flush()
            printed = await _run(
                [sys.executable, "-m", "tests.fuzzing", self.url, str(examples)],
                cwd=self._top / "api",
                env={"REQUESTS_CA_BUNDLE": bundle.name},
            )
        statuses: dict[str, int] = json.loads(printed)
        return statuses

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
            await self.deploy(inference_replicas=replicas, inference_api_source=str(source))

    async def deploy(self, **variables: object) -> None:
        """Deploy the replicas with other variables of Ansible than the platform's."""
        await _run(
            [
                *(str(self._ansible_playbook), "playbooks/scale.yml"),
                # As JSON: otherwise all values would be texts.
                *("--extra-vars", json.dumps(variables)),
            ],
            cwd=self._top / "ansible",
            env={"PATH": f"{self._ansible_playbook.parent}:{os.environ['PATH']}"},
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

    async def remove_alias(self, model: str, alias: str) -> None:
        """Take an alias away."""
        body = {"name": model, "alias": alias}
        await self._mlflow("registered-models/alias", body, "DELETE")

    async def aliases(self, model: str) -> dict[str, str]:
        """The aliases of a model and their versions."""
        found = await self._mlflow(f"registered-models/get?name={model}")
        return {one["alias"]: one["version"] for one in found["registered_model"]["aliases"]}

    async def _mlflow(self, path: str, body: object = None, method: str | None = None) -> Any:
        url = f"https://{self.address}:{self.ports['mlflow']}/api/2.0/mlflow/{path}"
        headers = {"Authorization": f"Basic {self._mlflow_login}"}
        return await _get(url, body, headers, self._trust, method)


async def _run(
    command: Sequence[str],
    stdin: bytes = b"",
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
) -> bytes:
    """Run a command and give what it prints.

    Raises:
        BenchmarkError: it failed or took too long.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        # What is done during a load is done as anybody would do it, not before others.
        preexec_fn=_as_anybody,
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


def _as_anybody() -> None:
    os.setpriority(os.PRIO_PROCESS, 0, max(os.getpriority(os.PRIO_PROCESS, 0), 0))


async def _get(
    url: str,
    body: object = None,
    headers: dict[str, str] | None = None,
    trust: ssl.SSLContext | None = None,
    method: str | None = None,
) -> Any:
    """Ask a service for JSON, with POST if there is a body and no other method is given."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(  # noqa: S310 - the deployment's own addresses
        url, data, {"Content-Type": "application/json", **(headers or {})}, method=method
    )

    def ask() -> Any:
        with urllib.request.urlopen(request, timeout=30, context=trust) as answer:  # noqa: S310
            return json.load(answer)

    return await asyncio.to_thread(ask)
