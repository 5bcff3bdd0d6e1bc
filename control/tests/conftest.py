"""What the tests share: a repository in a temporary folder, and a runner that runs nothing."""

import io
import json
import shlex
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from control.console import Console
from control.project import Project
from control.runner import Command, CommandError, Completed

Reply = Completed | str | Callable[[str], Completed]


class FakeRunner:
    """Records commands and answers those that begin with a known text.

    Attributes:
        commands: what was called, as one would type it.
        replies: answers by the beginning of the command; the longest that fits is taken.
        interrupts: how often `interrupt` was called.
        environments: the variables given with each command.
    """

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.environments: list[dict[str, str]] = []
        self.folders: list[Path | None] = []
        self.replies: dict[str, Reply] = {}
        self.interrupts = 0

    def run(
        self,
        command: Command,
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        input_text: str | None = None,
        timeout: float | None = None,
        check: bool = True,
        echo: bool = False,
    ) -> Completed:
        text = shlex.join(map(str, command))
        self.commands.append(text)
        self.environments.append(dict(env or {}))
        self.folders.append(cwd)
        fitting = [begin for begin in self.replies if text.startswith(begin)]
        reply = self.replies[max(fitting, key=len)] if fitting else ""
        if callable(reply):
            reply = reply(text)
        completed = Completed(0, reply) if isinstance(reply, str) else reply
        if check and completed.returncode != 0:
            raise CommandError(command, completed, shown=echo)
        return completed

    def interrupt(self) -> None:
        self.interrupts += 1

    def called(self, begin: str) -> list[str]:
        return [command for command in self.commands if command.startswith(begin)]


class Screen(Console):
    """A console that keeps what it prints."""

    def __init__(self, log_path: Path | None = None) -> None:
        self.out = io.StringIO()
        super().__init__(log_path, self.out)

    @property
    def text(self) -> str:
        return self.out.getvalue()


def _form(content: bytes) -> dict[str, str]:
    return dict(parse_qsl(content.decode()))


class FakeServer:
    """A web server on this host whose answers are made by a function of the test.

    Attributes:
        requests: method, path and decoded body (JSON or a form) of what came.
        answer: gives status and body for method, path and body.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, object]] = []
        self.tokens: list[str | None] = []
        self.answer: Callable[[str, str, object], tuple[int, object]] = lambda *_: (200, {})
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def _handle(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                is_form = "urlencoded" in self.headers.get("Content-Type", "")
                body = (
                    dict(parse_qsl(content.decode())) if is_form else json.loads(content or b"null")
                )
                owner.requests.append((self.command, self.path, body))
                owner.tokens.append(self.headers.get("Authorization"))
                status, answer = owner.answer(self.command, self.path, body)
                content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PATCH = _handle  # noqa: N815 - the names that http.server calls

            def _is_json(self) -> bool:
                return "urlencoded" not in self.headers.get("Content-Type", "")

            def log_message(self, *_: object) -> None:
                """Keep the tests' output free of requests."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """Keep quiet about connections that an answer broke off by raising."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def runner() -> FakeRunner:
    return FakeRunner()


@pytest.fixture
def screen() -> Screen:
    return Screen()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    for folder in (made.terraform, made.ansible / "playbooks", made.control):
        folder.mkdir(parents=True)
    (made.terraform / "network.json").write_text('{"bridge": "br9", "subnet": "10.9.8.0/24"}')
    (made.terraform / "versions.tf").write_text('terraform { required_version = ">= 1.9" }')
    return made


@pytest.fixture
def server() -> Iterator[FakeServer]:
    running = FakeServer()
    yield running
    running.close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 that is its own authority, its key beside it."""
    folder = tmp_path_factory.mktemp("certificate")
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=me"
    subprocess.run(
        [
            *(*make.split(), "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", folder / "own.key", "-out", folder / "own.crt"),
        ],
        check=True,
        capture_output=True,
    )
    return folder / "own.crt"
