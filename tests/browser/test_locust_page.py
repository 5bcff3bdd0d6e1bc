"""Locust's page, on the machine that makes the load."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from conftest import (
    Deployment,
    Opener,
    Photographer,
    assert_distrusted,
    assert_refused,
    log_in_with_the_browser,
    measure_first_load,
    with_login,
)

PORT = 8089
USER = "locust"
USERS = 20


@pytest.fixture
def url(deployment: Deployment) -> str:
    return deployment.url(PORT)


@pytest.fixture
def password(deployment: Deployment) -> str:
    return deployment.secret("locust_password")


def test_a_browser_that_does_not_know_the_authority_refuses(
    distrustful_browser: Browser, url: str
) -> None:
    assert_distrusted(distrustful_browser, url)


def test_a_login_is_asked_for(open_page: Opener, url: str) -> None:
    assert_refused(open_page, url, USER)
    assert_refused(open_page, f"{url}stats/requests", USER)


def test_first_load(open_page: Opener, url: str, password: str) -> None:
    measure_first_load(open_page, with_login(url, USER, password), "Locust")


def test_a_run_is_started_and_stopped(
    page: Page, url: str, password: str, picture: Photographer
) -> None:
    log_in_with_the_browser(page, url, USER, password)
    new, start = (page.get_by_role("button", name=name, exact=True) for name in ("New", "Start"))
    expect(new.or_(start)).to_be_visible()
    if new.is_visible():  # It shows the last run.
        new.click()
    page.locator("input[name=userCount]").fill(str(USERS))
    page.locator("input[name=spawnRate]").fill(str(USERS))
    start.click()
    try:
        users = page.get_by_role("banner").get_by_text("Users", exact=True).locator("..")
        expect(users).to_have_text(f"Users{USERS}")
        everything = page.get_by_role("row", name="Aggregated").get_by_role("cell")
        # Each client has asked several times; the columns are method, name, requests, failures.
        expect(everything.nth(2)).to_have_text(re.compile(r"^\d{3,}$"))
        expect(everything.nth(3)).to_have_text("0")
        picture(page, "locust")
    finally:
        page.get_by_role("button", name="Stop", exact=True).click()
    expect(new).to_be_visible()
