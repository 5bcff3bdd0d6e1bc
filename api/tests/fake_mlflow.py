"""A registry that answers the calls of the client as MLflow 3.17.2 does.

The bodies have the shape that a real server returned, down to the empty lists that it leaves
out, its error bodies and its spelling of NaN.
"""

import base64
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

_API = "/api/2.0/mlflow"
_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts/"


@dataclass
class Version:
    """A registered version and its files."""

    number: str
    created: int
    files: dict[str, bytes]
    metrics: dict[str, float | str]


@dataclass
class Model:
    """A registered model."""

    name: str
    updated: int = 0
    versions: dict[str, Version] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)


class FakeMlflow:
    """The server, on a free port of the loopback interface."""

    def __init__(self) -> None:
        self.models: dict[str, Model] = {}
        self.calls: list[str] = []
        self.page_size = 1000
        self.credentials: tuple[str, str] | None = None
        self.artifact_scheme = "mlflow-artifacts:/"
        self.truncate_artifacts = False
        self.artifact_delay = 0.0
        self.after_search: Callable[[], object] = lambda: None
        """Called after each answer that tells the aliases."""
        self.deleted_runs: set[str] = set()
        self._lock = threading.Lock()  # a test publishes while a replica asks
        self._now = 1_795_510_345_000
        self._port = 0
        self._server: ThreadingHTTPServer | None = None
        self.start()

    @property
    def uri(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listen; after a stop on the same port as before."""
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # One packet an answer; two make the kernel wait 40 ms before the second.
            wbufsize = -1

            def do_GET(self) -> None:
                fake._answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._server.daemon_threads = True
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Stop listening; new connections are refused."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def publish(
        self,
        files: dict[str, bytes],
        name: str = "modelo1",
        alias: str | None = "production",
        metrics: dict[str, float | str] | None = None,
    ) -> str:
        """Register a version and give it the alias."""
        with self._lock:
            self._now += 1000
            model = self.models.setdefault(name, Model(name))
            version = Version(
                str(len(model.versions) + 1), self._now, files, metrics or {"accuracy": 0.9}
            )
            model.versions[version.number] = version
            model.updated = self._now
            if alias is not None:
                model.aliases[alias] = version.number
            return version.number

    def clear(self) -> None:
        """Forget every model."""
        with self._lock:
            self.models.clear()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        url = urlsplit(request.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        self.calls.append(url.path)
        if self._server is None:  # stopped: connections that were kept alive end too
            request.close_connection = True
            return
        if self.credentials is not None:
            expected = base64.b64encode(":".join(self.credentials).encode()).decode()
            if request.headers.get("Authorization") != f"Basic {expected}":
                self._send(request, 401, b"You are not authenticated.")
                return
        if url.path.startswith(_ARTIFACTS):
            self._send_artifact(request, unquote(url.path.removeprefix(_ARTIFACTS)))
            return
        routes = {
            "/registered-models/search": self._search_models,
            "/model-versions/search": self._search_versions,
            "/model-versions/get-download-uri": self._download_uri,
            "/runs/get": self._run,
        }
        with self._lock:
            status, answer = routes[url.path.removeprefix(_API)](query)
        self._send(request, status, json.dumps(answer, indent=2).encode())

    def _search_models(self, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for model in self.models.values():
            entry: dict[str, Any] = {
                "name": model.name,
                "creation_timestamp": model.updated,
                "last_updated_timestamp": model.updated,
            }
            if model.aliases:
                entry["aliases"] = [
                    {"alias": alias, "version": version} for alias, version in model.aliases.items()
                ]
            found.append(entry)
        self.after_search()
        return self._page("registered_models", found, query)

    def _search_versions(self, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        match = re.fullmatch(r"""name=(['"])(.*)\1""", query["filter"])
        assert match is not None and match[1] not in match[2]
        model = self.models.get(match[2], Model(match[2]))
        found = [
            {
                "name": model.name,
                "version": version.number,
                "creation_timestamp": version.created,
                "last_updated_timestamp": version.created,
                "current_stage": "None",
                "description": "",
                "source": f"models:/m-{version.number}",
                "run_id": f"{model.name}|{version.number}",
                "status": "READY",
                "run_link": "",
            }
            for version in model.versions.values()
        ]
        return self._page("model_versions", found, query)

    def _download_uri(self, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        model = self.models.get(query["name"])
        if model is None or query["version"] not in model.versions:
            return self._not_found(f"Model Version (name={query['name']}) not found")
        path = f"1/models/m-{query['name']}/{query['version']}/artifacts"
        return 200, {"artifact_uri": self.artifact_scheme + path}

    def _run(self, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        name, number = query["run_id"].split("|")
        version = self.models[name].versions[number]
        if query["run_id"] in self.deleted_runs:
            return self._not_found(f"Run with id={query['run_id']} not found")
        data: dict[str, Any] = {}
        if version.metrics:
            data["metrics"] = [
                {"key": key, "value": value, "timestamp": version.created, "step": 0}
                for key, value in version.metrics.items()
            ]
        return 200, {"run": {"info": {"run_id": query["run_id"]}, "data": data, "inputs": {}}}

    def _send_artifact(self, request: BaseHTTPRequestHandler, path: str) -> None:
        time.sleep(self.artifact_delay)
        _, _, name, number, _, file = path.split("/")
        content = self.models[name.removeprefix("m-")].versions[number].files.get(file)
        if content is None:
            status, answer = self._not_found(f"No such artifact: '{path}'")
            self._send(request, status, json.dumps(answer).encode())
        elif self.truncate_artifacts and file != "MLmodel":
            request.send_response(200)
            request.send_header("content-length", str(len(content)))
            request.end_headers()
            request.wfile.write(content[: len(content) // 2])
            request.close_connection = True
        else:
            self._send(request, 200, content)

    def _page(
        self, key: str, found: list[dict[str, Any]], query: dict[str, str]
    ) -> tuple[int, dict[str, Any]]:
        size = min(int(query["max_results"]), self.page_size)
        start = int(query.get("page_token", "0"))
        answer: dict[str, Any] = {}
        if found:
            answer[key] = found[start : start + size]
        if start + size < len(found):
            answer["next_page_token"] = str(start + size)
        return 200, answer

    @staticmethod
    def _not_found(message: str) -> tuple[int, dict[str, Any]]:
        return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": message}

    @staticmethod
    def _send(request: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
        request.send_response(status)
        request.send_header("content-type", "application/json")
        request.send_header("content-length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)
