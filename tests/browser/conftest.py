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
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Error,
    Page,
    Playwright,
    expect,
    sync_playwright,
)

DEPLOYMENT = Path(__file__).resolve().parents[2] / ".deployment"
# Debian's; a wrapper that is found at the same place on every release.
CHROMIUM = "/usr/bin/chromium"
WIDTH, HEIGHT = 1280, 800
PATIENCE_SECONDS = 30
LOAD_SECONDS = 3.0
# The limit is for an idle machine. Something else may be at work on this one, the browser itself
# takes half of the time, and a host that others share was seen to be two times slower for a minute.
LOADS = 10
WRONG_PASSWORD = "not-the-password"
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


def with_login(url: str, user: str, password: str) -> str:
    """Return an address with the login that the browser would ask for."""
    return url.replace("://", f"://{user}:{password}@", 1)


def log_in_with_the_browser(page: Page, url: str, user: str, password: str) -> None:
    """Open a page whose login the browser itself asks for."""
    # With Playwright's `http_credentials`, MLflow's page hangs at its worker.
    page.goto(with_login(url, user, password), wait_until="commit")
    # A script may not ask an address with a login for anything; the browser keeps the login.
    page.goto(url)


def status_of(page: Page, url: str) -> int:
    """Open an address and return the status of its answer."""
    statuses: list[int] = []
    page.on("response", lambda response: statuses.append(response.status))
    try:
        page.goto(url)
    except Error as error:
        # Where the browser asks for a login, and nobody gives one.
        if "ERR_INVALID_AUTH_CREDENTIALS" not in error.message:
            raise
        return 401
    return statuses[0]


def assert_distrusted(browser: Browser, url: str) -> None:
    """Assert that a browser does not take the certificate."""
    with browser.new_page() as page, pytest.raises(Error, match="ERR_CERT_AUTHORITY"):
        page.goto(url)


def assert_refused(open_page: Opener, url: str, user: str) -> None:
    """Check that a page opens neither without a login nor with a wrong one."""
    for wrong in (url, with_login(url, user, WRONG_PASSWORD)):
        assert status_of(open_page(), wrong) == 401


def measure_first_load(open_empty: Callable[[], Page], url: str, name: str) -> None:
    """Check how long a page takes in a browser that has nothing of it yet."""
    seconds: list[float] = []
    while len(seconds) < LOADS and min(seconds, default=LOAD_SECONDS + 1) > LOAD_SECONDS:
        page = open_empty()
        page.goto(url, wait_until="load")
        loaded = "performance.getEntriesByType('navigation')[0].loadEventEnd"
        # A page may lead on to another, which is then the one that is waited for.
        page.wait_for_function(f"{loaded} > 0")
        seconds.append(float(page.evaluate(loaded)) / 1000)
    figures.append((name, min(seconds)))
    assert min(seconds) <= LOAD_SECONDS, seconds


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
