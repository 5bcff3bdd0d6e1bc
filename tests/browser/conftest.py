"""A Chromium that trusts the deployment's authority, and what the tests know of the deployment."""

from __future__ import annotations

import io
import os
import subprocess
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

DEPLOYMENT = Path(__file__).resolve().parents[2] / ".deployment"
# Debian's; a wrapper that is found at the same place on every release.
CHROMIUM = "/usr/bin/chromium"
WIDTH, HEIGHT = 1280, 800
PATIENCE_SECONDS = 30
LOAD_SECONDS = 3.0
# The data API's.
PLAIN_PORT = 80

expect.set_options(timeout=PATIENCE_SECONDS * 1000)

figures: list[tuple[str, float]] = []
"""What was measured: a page, and how many seconds its first load took."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--address", required=True, help="address of the machine with the pages")
    parser.addoption("--pictures", type=Path, help="folder for the documentation's pictures")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep passwords out of what a failure prints: it quotes arguments and addresses."""
    report = yield
    if report.longrepr:
        text = str(report.longrepr)
        for path in (DEPLOYMENT / "secrets").glob("[!.]*"):
            text = text.replace(path.read_text().strip(), f"<{path.name}>")
        report.longrepr = text
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if figures:
        terminalreporter.section(f"first load of each page, at most {LOAD_SECONDS:.0f} s")
        for name, seconds in figures:
            terminalreporter.line(f"{name:<28}{seconds:6.2f} s")


@dataclass(frozen=True)
class Deployment:
    """The pages of one machine of the deployment."""

    address: str

    def url(self, port: int, path: str = "/") -> str:
        """Return the address of a page."""
        scheme = "http" if port == PLAIN_PORT else "https"
        return f"{scheme}://{self.address}:{port}{path}"

    def secret(self, name: str) -> str:
        """Return a secret of the deployment."""
        return (DEPLOYMENT / "secrets" / name).read_text().strip()


@pytest.fixture(scope="session")
def deployment(pytestconfig: pytest.Config) -> Deployment:
    return Deployment(pytestconfig.getoption("--address"))


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as started:
        yield started


def chromium(playwright: Playwright, home: Path) -> Browser:
    """Start Chromium as a user with this home, where the certificates are that it trusts."""
    return playwright.chromium.launch(
        executable_path=CHROMIUM,
        # Chromium's sandbox refuses to run as root, as whom the tests make machines. All that is
        # opened here is the deployment's, at an address that no proxy knows.
        args=["--no-sandbox", "--no-proxy-server"],
        env={**os.environ, "HOME": str(home)},
    )


@pytest.fixture(scope="session")
def browser(playwright: Playwright, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser that trusts the deployment's authority, as `make trust` says how."""
    home = tmp_path_factory.mktemp("home")
    database = home / ".pki" / "nssdb"
    database.mkdir(parents=True)
    authority = DEPLOYMENT / "certificates" / "ca.crt"
    certutil = ["certutil", "-d", f"sql:{database}"]
    subprocess.run([*certutil, "-N", "--empty-password"], check=True)
    trusted = ["-n", "MLOps platform", "-t", "C,,", "-i", str(authority)]
    subprocess.run([*certutil, "-A", *trusted], check=True)
    with chromium(playwright, home) as started:
        yield started


@pytest.fixture(scope="session")
def distrustful_browser(
    playwright: Playwright, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Browser]:
    """A browser that has never heard of the deployment's authority."""
    with chromium(playwright, tmp_path_factory.mktemp("home")) as started:
        yield started


Opener = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, deployment: Deployment) -> Iterator[Opener]:
    """Open an empty page in a browser that remembers nothing but what it is given.

    At the end, no page may have asked another host for anything: the platform works where there
    is no way out.
    """
    contexts: list[BrowserContext] = []
    hosts: set[str | None] = set()

    def opened(**options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": WIDTH, "height": HEIGHT}, **options})
        contexts.append(context)
        context.set_default_timeout(PATIENCE_SECONDS * 1000)
        context.on("request", lambda request: hosts.add(urlsplit(request.url).hostname))
        return context.new_page()

    yield opened
    for context in contexts:
        context.close()
    # `data:` and `blob:` have no host.
    assert hosts <= {deployment.address, None, ""}


@pytest.fixture
def page(open_page: Opener) -> Page:
    return open_page()


Photographer = Callable[[Page, str], None]


@pytest.fixture
def picture(pytestconfig: pytest.Config, tmp_path: Path) -> Photographer:
    """Keep a picture of a page: with `--pictures` in that folder, small, otherwise for a look."""
    folder: Path = pytestconfig.getoption("--pictures") or tmp_path

    def take(page: Page, name: str) -> None:
        image = Image.open(io.BytesIO(page.screenshot(animations="disabled")))
        # Pages have few colours; a palette of them is a third of the size.
        palette = image.convert("RGB").quantize(96, dither=Image.Dither.NONE)
        palette.save(folder / f"{name}.png", optimize=True)

    return take
