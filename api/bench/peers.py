"""What the inference API is compared with, on the deployment's machine and with the same share."""

import asyncio
import json
import re
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.deployment import REPLICA_PREFIX, BenchmarkError, Deployment, Replica
from bench.generator import Target
from bench.references.graph import encode
from inference_api.model import MLMODEL_FILE, read_schema
from inference_api.schema import FeatureSchema

_API = Path(__file__).resolve().parents[1]
_WORKER = "airflow-worker-1"
_DAGS = "/opt/airflow/dags"
# A folder on the machine, and the port that the servers are published on.
_REMOTE = "/tmp/mlops-benchmark"  # noqa: S108 - made anew by root, and removed
_PORT = 18000
_NGINX = "benchmark-nginx"
_NGINX_CONFIG = "/etc/nginx/platform"
_UPSTREAM = re.compile(r"(?<=upstream inference_api \{\n).*?(?=\n    \})", re.DOTALL)
_READY_SECONDS = 60.0


@dataclass(frozen=True)
class Server:
    """A way to serve the model.

    Attributes:
        image_of: the container whose image it runs in.
        options: of `docker run`.
        command: what runs, with the program first; it listens on port 8000.
        ready: the path that answers once it can predict.
        path: the path that predicts.
        body: gives the body that asks for one observation.
    """

    image_of: str
    options: str
    command: str
    ready: str
    path: str
    body: Callable[[FeatureSchema, dict[str, Any]], Any]


def _as_it_is(_: FeatureSchema, row: dict[str, Any]) -> Any:
    return row


def _as_a_tensor(schema: FeatureSchema, row: dict[str, Any]) -> Any:
    """MLflow's protocol has no place for an encoding of categories: its clients do it."""
    return {"inputs": [encode(schema, row)]}


def _uvicorn(program: str) -> str:
    return (
        f"python -m uvicorn bench.references.{program}:app --host 0.0.0.0 --port 8000 "
        "--no-access-log --log-level warning"
    )


SERVERS = {
    "fastapi_onnx": Server(
        f"{REPLICA_PREFIX}1",
        f"--env PYTHONPATH={_REMOTE} --env MODEL_FOLDER={_REMOTE}/model",
        _uvicorn("fastapi_onnx"),
        "/openapi.json",
        "/predict",
        _as_it_is,
    ),
    "mlflow_models_serve": Server(
        _WORKER,
        "--env HOME=/tmp --env UVICORN_LOG_LEVEL=warning",
        f"mlflow models serve --model-uri {_REMOTE}/model --env-manager local --workers 1 "
        "--host 0.0.0.0 --port 8000",
        "/ping",
        "/invocations",
        _as_a_tensor,
    ),
    "sklearn_pandas": Server(
        _WORKER,
        f"--volume /srv/mlops/airflow/dags:{_DAGS}:ro --env PYTHONPATH={_REMOTE}:{_DAGS} "
        f"--env ESTIMATOR={_REMOTE}/estimator.pickle",
        _uvicorn("sklearn_pandas"),
        "/openapi.json",
        "/predict",
        _as_it_is,
    ),
}


class Peers:
    """Runs them, each in turn, with the very share that the replicas have at the moment.

    Args:
        deployment: where they run.
        rows: the observations that they predict.
    """

    def __init__(self, deployment: Deployment, rows: Sequence[dict[str, Any]]) -> None:
        self._deployment = deployment
        self._rows = rows

    async def prepare(self) -> None:
        """Lay down what they need: programs, rows, graph, estimator, nginx's configuration.

        Raises:
            BenchmarkError: a command failed.
        """
        run = self._deployment.run
        await run(f"rm -rf {_REMOTE}; mkdir -m 0755 {_REMOTE}")
        await self._deployment.copy(_API, "bench", _REMOTE)
        await run(f"cat > {_REMOTE}/rows.json", json.dumps(self._rows).encode())
        model = await self._deployment.production()
        # A replica's own copy of the version in production.
        replica = (await self._deployment.replicas())[0].name
        pattern = f"/var/cache/inference_api/models/{model['name']}@{model['version']}@*"
        await run(
            f"mkdir {_REMOTE}/model && docker exec {replica} sh -c 'tar -C {pattern} -c .' "
            f"| tar -C {_REMOTE}/model -x && chmod -R a+rX {_REMOTE}/model"
        )
        await run(
            f"docker exec --interactive --workdir {_DAGS} {_WORKER} with-secrets python - "
            f"> {_REMOTE}/estimator.pickle",
            (_API / "bench" / "references" / "fit_estimator.py").read_bytes(),
        )
        # With its owners, as nginx reads the certificate's key as its own user.
        mounted = f'if eq .Destination "{_NGINX_CONFIG}"'
        folder = await self._of_container(
            "nginx", f"{{{{range .Mounts}}}}{{{{{mounted}}}}}{{{{.Source}}}}{{{{end}}}}{{{{end}}}}"
        )
        await run(f"cp --archive {folder} {_REMOTE}/nginx")

    async def remove(self) -> None:
        """Remove what they needed."""
        await self._deployment.run(f"rm -rf {_REMOTE}")

    async def bare_loop(self, seconds: float) -> float:
        """Rows a second of the bare loop over the model, with one replica's share."""
        replica = (await self._deployment.replicas())[0]
        image = await self._of_container(replica.name, "{{.Config.Image}}")
        printed = await self._deployment.run(
            f"docker run --rm {_limits(replica)} --user 65534 --volume {_REMOTE}:{_REMOTE}:ro "
            f"--env PYTHONPATH={_REMOTE} --entrypoint python {image} "
            f"-m bench.references.bare_loop {_REMOTE}/model {_REMOTE}/rows.json {seconds}"
        )
        return float(json.loads(printed)["per_second"])

    @asynccontextmanager
    async def serving(self, kind: str) -> AsyncIterator[Target]:
        """Have a server running, as often as there are replicas, behind an nginx like theirs.

        Args:
            kind: one of `SERVERS`.

        Raises:
            BenchmarkError: it does not come up.
        """
        server = SERVERS[kind]
        replicas = await self._deployment.replicas()
        names = [f"benchmark-{number}" for number in range(1, len(replicas) + 1)]
        image = await self._of_container(server.image_of, "{{.Config.Image}}")
        network = await self._of_container(replicas[0].name, "{{.HostConfig.NetworkMode}}")
        weight = await self._of_container(replicas[0].name, "{{.HostConfig.CpuShares}}")
        program, _, arguments = server.command.partition(" ")
        try:
            for name in names:
                await self._deployment.run(
                    f"docker run --detach --name {name} --user 65534 --network {network} "
                    f"--cpu-shares {weight} --volume {_REMOTE}:{_REMOTE}:ro {server.options} "
                    f"--entrypoint {program} {image} {arguments}"
                )
            for name, replica in zip(names, replicas, strict=True):
                await self._wait_until_ready(name, server.ready)
                # Not before: starting would take minutes with the smallest share.
                await self._deployment.run(f"docker update {_limits(replica)} {name}")
            await self._run_nginx(names, network)
            await self._wait_until_listening()
            yield await self._target(server)
        finally:
            await self._deployment.run(f"docker rm --force {_NGINX} {' '.join(names)}")

    async def _target(self, server: Server) -> Target:
        with tempfile.NamedTemporaryFile(suffix=MLMODEL_FILE) as file:
            described = await self._deployment.run(f"cat {_REMOTE}/model/{MLMODEL_FILE}")
            Path(file.name).write_bytes(described)
            schema = read_schema(Path(file.name))
        bodies = [json.dumps(server.body(schema, row)).encode() for row in self._rows]
        return self._deployment.posting(_PORT, server.path, bodies)

    async def _run_nginx(self, names: Sequence[str], network: str) -> None:
        """Run the platform's nginx once more, with these servers for the inference API."""
        addresses = [
            await self._of_container(
                name, "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
            )
            for name in names
        ]
        original = await self._deployment.run(f"docker exec nginx cat {_NGINX_CONFIG}/nginx.conf")
        config = with_servers(original.decode(), [f"{address}:8000" for address in addresses])
        await self._deployment.run(f"cat > {_REMOTE}/nginx/nginx.conf", config.encode())
        image, user, weight, edge = (
            await self._of_container(
                "nginx",
                "{{.Config.Image}} {{.Config.User}} {{.HostConfig.CpuShares}} "
                "{{.HostConfig.NetworkMode}}",
            )
        ).split()
        await self._deployment.run(
            f"docker create --name {_NGINX} --user {user} --cpu-shares {weight} --network {edge} "
            f"--publish {_PORT}:{self._deployment.ports['inference_api']} --tmpfs /tmp:mode=1777 "
            f"--volume {_REMOTE}/nginx:{_NGINX_CONFIG}:ro "
            f"{image} nginx -c {_NGINX_CONFIG}/nginx.conf -g 'daemon off;' "
            f"&& docker network connect {network} {_NGINX} && docker start {_NGINX}"
        )

    async def _wait_until_ready(self, name: str, path: str) -> None:
        ask = f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000{path}')"
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline:
            try:
                await self._deployment.run(f'docker exec {name} python -c "{ask}"')
            except BenchmarkError:
                await asyncio.sleep(1)
            else:
                return
        raise BenchmarkError(await self._log(name))

    async def _wait_until_listening(self) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline:
            try:
                _, writer = await asyncio.open_connection(self._deployment.address, _PORT)
            except OSError:
                await asyncio.sleep(0.2)
            else:
                writer.close()
                return
        raise BenchmarkError(await self._log(_NGINX))

    async def _log(self, name: str) -> str:
        log = (await self._deployment.run(f"docker logs --tail 20 {name} 2>&1")).decode()
        return f"{name} does not answer:\n{log}"

    async def _of_container(self, name: str, template: str) -> str:
        shown = await self._deployment.run(f"docker inspect --format '{template}' {name}")
        return shown.decode().strip()


def with_servers(config: str, servers: Sequence[str]) -> str:
    """The configuration of nginx with other servers behind the inference API's address.

    Args:
        config: as the platform has it.
        servers: their addresses and ports.

    Raises:
        BenchmarkError: the inference API is not in it.
    """
    found = _UPSTREAM.search(config)
    options = re.search(r"^ *server \S+(.*;)$", found[0], re.MULTILINE) if found else None
    if found is None or options is None:
        raise BenchmarkError("nginx's configuration has no servers of the inference API.")
    others = [line for line in found[0].splitlines() if not line.lstrip().startswith("server ")]
    ours = [f"        server {server}{options[1]}" for server in servers]
    return config[: found.start()] + "\n".join([*others, *ours]) + config[found.end() :]


def _limits(replica: Replica) -> str:
    quota = round(replica.cpus * replica.cpu_period)
    memory = f"--memory {replica.memory_bytes} --memory-swap {replica.memory_bytes}"
    return f"--cpu-period {replica.cpu_period} --cpu-quota {quota} {memory}"
