"""Every page of the platform, as a person sees it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Locator, Page, TimeoutError, expect

from conftest import (
    PATIENCE_SECONDS,
    WRONG_PASSWORD,
    Deployment,
    Opener,
    Photographer,
    assert_distrusted,
    assert_refused,
    log_in_with_the_browser,
    measure_first_load,
    status_of,
    with_login,
)

PORTAL, INFERENCE_API, DATA_API = 443, 8000, 80
AIRFLOW, MLFLOW, MINIO, PGADMIN, JUPYTERLAB = 8080, 5000, 9001, 5050, 8888
PHONE = {"width": 390, "height": 844}
# Trains on 58,100 rows; the other DAGs take longer or change the rows, which later tests need.
DAG, TASK = "Entrenamiento_mode", "train.train_baseline"
RUN_SECONDS = 240
NOTEBOOK = "1-explore"
NOTEBOOK_SECONDS = 60


@dataclass(frozen=True)
class Basic:
    """A login that the browser itself asks for."""

    port: int
    user: str
    secret: str


@dataclass(frozen=True)
class Form:
    """A login page.

    Attributes:
        port: the service's port.
        user_field: the CSS selector of the field for the user, empty where there is none.
        user: what is written there: a name, or that of a secret.
        secret: the name of the password's secret.
        inside: what the address is like after it.
        refusal: what the page says to a wrong password.
    """

    port: int
    user_field: str
    user: str
    secret: str
    inside: str
    refusal: str


BASIC = {
    "portal": Basic(PORTAL, "operator", "portal_password"),
    "MLflow": Basic(MLFLOW, "admin", "mlflow_admin_password"),
}
FORMS = {
    "Airflow": Form(
        AIRFLOW, "#username", "admin", "airflow_admin_password", r":8080/$", "Invalid login"
    ),
    "MinIO": Form(
        *(MINIO, "#accessKey", "minio_root_user", "minio_root_password"),
        *(r"/browser", "invalid login"),
    ),
    "pgAdmin": Form(
        *(PGADMIN, "input[name=email]", "admin@mlops.example", "pgadmin_password"),
        *(r"/browser/$", "Incorrect username or password"),
    ),
    "JupyterLab": Form(JUPYTERLAB, "", "", "jupyterlab_password", r"/lab\b", "Invalid credentials"),
}
# The first page of each service, and for those with a login page what comes after it.
FIRST_PAGES = {
    "portal": (PORTAL, "/"),
    "inference API": (INFERENCE_API, "/docs"),
    "data API": (DATA_API, "/docs"),
    "MLflow": (MLFLOW, "/"),
    **{f"{name}: login": (form.port, "/") for name, form in FORMS.items()},
    **{name: (form.port, "/") for name, form in FORMS.items()},
}

SignedIn = Callable[..., Page]


def fill_in(page: Page, deployment: Deployment, form: Form, password: str) -> None:
    """Fill in a login page and send it."""
    if form.user_field:
        user = deployment.secret(form.user) if form.port == MINIO else form.user
        page.locator(form.user_field).fill(user)
    page.locator("input[type=password]").fill(password)
    page.locator("input[type=password]").press("Enter")


def log_in(page: Page, deployment: Deployment, name: str) -> None:
    """Log in to a service; the page is then in it."""
    if name in BASIC:
        basic = BASIC[name]
        password = deployment.secret(basic.secret)
        log_in_with_the_browser(page, deployment.url(basic.port), basic.user, password)
        return
    form = FORMS[name]
    page.goto(deployment.url(form.port))
    fill_in(page, deployment, form, deployment.secret(form.secret))
    expect(page).to_have_url(re.compile(form.inside))


@pytest.fixture(scope="session")
def sessions() -> dict[str, Any]:
    """What the browser keeps of each login that was made."""
    return {}


@pytest.fixture
def signed_in(open_page: Opener, deployment: Deployment, sessions: dict[str, Any]) -> SignedIn:
    """Open an empty page of a browser with a login at a service, which is made once."""

    def opened(name: str, **options: Any) -> Page:
        if name in BASIC:
            page = open_page(**options)
            log_in(page, deployment, name)
            return page
        if name not in sessions:
            page = open_page()
            log_in(page, deployment, name)
            sessions[name] = page.context.storage_state()
        return open_page(storage_state=sessions[name], **options)

    return opened


# --- who gets in ----------------------------------------------------------------------------


@pytest.mark.parametrize("port", sorted({port for port, _ in FIRST_PAGES.values()} - {DATA_API}))
def test_a_browser_that_does_not_know_the_authority_refuses(
    distrustful_browser: Browser, deployment: Deployment, port: int
) -> None:
    assert_distrusted(distrustful_browser, deployment.url(port))


@pytest.mark.parametrize("name", BASIC)
def test_a_login_of_the_browser_is_asked_for(
    open_page: Opener, deployment: Deployment, name: str
) -> None:
    basic = BASIC[name]
    url = deployment.url(basic.port)
    assert_refused(open_page, url, basic.user)
    page = open_page()
    log_in(page, deployment, name)
    expect(page).to_have_title(re.compile("MLOps platform|MLflow"))


@pytest.mark.parametrize("name", FORMS)
def test_a_login_page_refuses_a_wrong_password(
    page: Page, deployment: Deployment, name: str
) -> None:
    form = FORMS[name]
    page.goto(deployment.url(form.port))
    fill_in(page, deployment, form, WRONG_PASSWORD)
    expect(page.get_by_text(form.refusal)).to_be_visible()
    expect(page).not_to_have_url(re.compile(form.inside))
    fill_in(page, deployment, form, deployment.secret(form.secret))
    expect(page).to_have_url(re.compile(form.inside))


@pytest.mark.parametrize(
    ("port", "path"),
    [
        (AIRFLOW, f"/dags/{DAG}"),
        (MINIO, "/browser/mlflows3"),
        (PGADMIN, "/browser/"),
        (JUPYTERLAB, f"/lab/tree/examples/{NOTEBOOK}.ipynb"),
        (JUPYTERLAB, f"/files/examples/{NOTEBOOK}.ipynb"),
    ],
)
def test_without_login_a_page_is_a_login_page(
    page: Page, deployment: Deployment, port: int, path: str
) -> None:
    page.goto(deployment.url(port, path))
    expect(page.locator("input[type=password]")).to_be_visible()
    expect(page).to_have_url(re.compile("/login"))


@pytest.mark.parametrize(
    ("port", "path"),
    [
        (PORTAL, "/status"),
        (PORTAL, "/static/page.css"),
        (MLFLOW, "/ajax-api/2.0/mlflow/registered-models/search"),
        (MLFLOW, "/get-artifact"),
        (AIRFLOW, "/api/v2/dags"),
        (MINIO, "/api/v1/buckets"),
        (PGADMIN, "/browser/nodes/"),
        (JUPYTERLAB, "/api/contents"),
        (JUPYTERLAB, "/api/kernels"),
    ],
)
def test_without_login_nothing_is_told(
    page: Page, deployment: Deployment, port: int, path: str
) -> None:
    assert status_of(page, deployment.url(port, path)) in (401, 403)


def test_some_pages_are_for_everybody(page: Page, deployment: Deployment) -> None:
    assert status_of(page, deployment.url(PORTAL, "/health")) == 200
    # Whether all is well is another test's; here it is that this is told, and nothing more.
    assert json.loads(page.locator("body").inner_text()).keys() == {"well"}
    assert status_of(page, deployment.url(INFERENCE_API, "/models")) == 200
    assert status_of(page, deployment.url(DATA_API, "/docs")) == 200


# --- how long one waits ---------------------------------------------------------------------


@pytest.mark.parametrize("name", FIRST_PAGES)
def test_first_load(
    open_page: Opener, signed_in: SignedIn, deployment: Deployment, name: str
) -> None:
    port, path = FIRST_PAGES[name]
    url = deployment.url(port, path)
    if name in BASIC:
        url = with_login(url, BASIC[name].user, deployment.secret(BASIC[name].secret))
    measure_first_load(lambda: signed_in(name) if name in FORMS else open_page(), url, name)


# --- portal ---------------------------------------------------------------------------------


def test_portal_is_all_green(
    signed_in: SignedIn, deployment: Deployment, picture: Photographer
) -> None:
    page = signed_in("portal")
    expect(page.get_by_role("status")).to_have_text("Everything is well")
    services = page.locator("#services li")
    names = services.get_by_role("heading").all_inner_texts()
    assert {"Airflow", "MLflow", "Postgres", "nginx"} < set(names)
    for service in services.all():
        expect(service.locator("[data-live]")).to_have_text(re.compile(r"^well, [\d.]+ ms$"))
    expect(page.locator(".unwell")).to_have_count(0)
    expect(page.locator("#model")).to_contain_text(re.compile(r"modelo1, version \d+"))
    picture(page, "portal")


def test_portal_fits_a_phone(signed_in: SignedIn) -> None:
    page = signed_in("portal", viewport=PHONE, device_scale_factor=1)
    expect(page.get_by_role("status")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_portal_is_used_with_the_keyboard(signed_in: SignedIn) -> None:
    page = signed_in("portal")
    links = page.get_by_role("link").all()
    assert len(links) >= 8
    for link in links:
        page.keyboard.press("Tab")
        expect(link).to_be_focused()
        expect(link).to_be_in_viewport()
        outline = link.evaluate("element => getComputedStyle(element).outlineStyle")
        assert outline == "solid", link.inner_text()


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_portal_is_accessible(signed_in: SignedIn, colours: str) -> None:
    page = signed_in("portal", color_scheme=colours)
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


# --- the services' pages --------------------------------------------------------------------


def test_airflow_runs_a_dag(
    signed_in: SignedIn, deployment: Deployment, picture: Photographer
) -> None:
    page = signed_in("Airflow")
    page.goto(deployment.url(AIRFLOW, f"/dags/{DAG}"))
    # Whether it is scheduled.
    switch = page.get_by_role("heading").get_by_role("checkbox")
    expect(switch).to_be_checked()
    for scheduled in (False, True):
        with page.expect_response(lambda answer: answer.request.method == "PATCH") as answered:
            page.locator("[data-part=control][data-scope=switch]").first.click()
        assert answered.value.json()["is_paused"] is not scheduled
        expect(switch).to_be_checked(checked=scheduled)

    page.get_by_role("button", name="Trigger Dag").click()
    dialog = page.get_by_role("dialog")
    with page.expect_response(re.compile("/dagRuns$")) as answered:
        dialog.get_by_role("button", name="Trigger", exact=True).click()
    run = f"/dags/{DAG}/runs/{answered.value.json()['dag_run_id']}"
    page.goto(deployment.url(AIRFLOW, run))
    # The run's own; those of its tasks come after it.
    state = page.get_by_test_id("state-badge").first
    expect(state).to_have_text("Success", timeout=RUN_SECONDS * 1000)
    picture(page, "airflow")

    page.goto(deployment.url(AIRFLOW, f"{run}/tasks/{TASK}"))
    expect(page.get_by_test_id("virtualized-list")).to_contain_text(
        re.compile("Created version '.*' of model")
    )
    picture(page, "airflow-log")


def test_mlflow_shows_the_production_versions_confusion_matrix(
    signed_in: SignedIn, deployment: Deployment, picture: Photographer
) -> None:
    page = signed_in("MLflow")
    page.goto(deployment.url(MLFLOW, "/#/models/modelo1"))
    in_production = page.get_by_role("row").filter(has_text="production")
    in_production.get_by_role("link").first.click()
    expect(page.get_by_role("status", name="production")).to_be_visible()
    expect(page.get_by_role("heading", name="Quality")).to_be_visible()
    picture(page, "mlflow-version")
    page.locator("main a[href*='/runs/']").click()
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_label("plots").click()
    page.get_by_label("confusion_matrix.png").click()
    image = page.get_by_role("img", name="plots/confusion_matrix.png")
    expect(image).to_be_visible()
    assert image.evaluate("image => image.naturalWidth") > 300
    picture(page, "mlflow-confusion-matrix")


def select(tree: Locator, *path: str) -> None:
    """Select a node of a tree, however often it forgets a click or folds up again."""
    nodes = [tree.get_by_text(name).first for name in path]
    expect(nodes[0]).to_be_visible()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        assert time.monotonic() < deadline, f"{path[-1]} is not below {path[0]}"
        shown = [number for number, node in enumerate(nodes) if node.is_visible()]
        deepest = max(shown, default=0)
        with suppress(AssertionError, TimeoutError):
            if nodes[deepest] is nodes[-1]:
                nodes[-1].click(timeout=5000)
                return
            nodes[deepest].dblclick(timeout=5000)
            expect(nodes[deepest + 1]).to_be_visible(timeout=5000)


def test_pgadmin_counts_the_rows(
    signed_in: SignedIn, deployment: Deployment, picture: Photographer
) -> None:
    page = signed_in("pgAdmin")
    page.goto(deployment.url(PGADMIN, "/browser/"))
    explorer = page.get_by_role("tabpanel", name="Object Explorer").first
    select(explorer, "Servers", "Databases", "airflow")
    with page.expect_event("frameattached") as attached:
        page.get_by_role("button", name="Query Tool", exact=True).click()
    tool = attached.value
    tool.locator(".cm-content").first.click()
    page.keyboard.insert_text("select count(*) from covertype")
    page.keyboard.press("F5")
    expect(tool.locator(".rdg-row [aria-colindex='2']")).to_have_text(re.compile(r"^\d{5,}$"))
    picture(page, "pgadmin")
    # What is open at the end is opened again at the next login, and makes its first page slower.
    tab = page.locator(".dock-tab-active[data-node-key^=id-query-tool]")
    opened = page.locator(f"[data-node-key='{tab.get_attribute('data-node-key')}']")
    tab.get_by_role("button", name="Close").click()
    tool.locator("[data-test=dont-save]").click()
    expect(opened).to_have_count(0)


def test_minio_shows_an_artifact(
    signed_in: SignedIn, deployment: Deployment, picture: Photographer
) -> None:
    page = signed_in("MinIO")
    page.goto(deployment.url(MINIO, "/browser/mlflows3"))
    page.get_by_role("button", name="Acknowledge").click()
    files = page.locator(".fileNameText")
    # The experiment, its models or runs, and so on, down to a file.
    for name in (r"^\d+$", "^models$", "^m-", "^artifacts$", "^MLmodel$"):
        files.filter(has_text=re.compile(name)).first.click()
    expect(page.get_by_text("Object Info")).to_be_visible()
    picture(page, "minio")


def test_jupyterlab_runs_a_notebook_to_its_end(
    signed_in: SignedIn, deployment: Deployment, picture: Photographer
) -> None:
    page = signed_in("JupyterLab")
    page.goto(deployment.url(JUPYTERLAB, f"/lab/tree/examples/{NOTEBOOK}.ipynb?reset"))
    notebook = page.locator(".jp-Notebook")
    page.get_by_role("button", name="Restart the kernel and run all cells").click()
    page.locator(".jp-Dialog .jp-mod-accept").click()
    prompts = notebook.locator(".jp-CodeCell .jp-InputArea-prompt")
    expect(prompts.last).to_have_text(re.compile(r"^\[\d+\]:$"), timeout=NOTEBOOK_SECONDS * 1000)
    assert all(re.fullmatch(r"\[\d+\]:", text) for text in prompts.all_inner_texts())
    expect(notebook.locator(".jp-OutputArea-output[data-mime-type*=error]")).to_have_count(0)
    plot = notebook.locator("img[src^='data:image/png']")
    plot.scroll_into_view_if_needed()
    expect(plot).to_be_visible()
    expect(page.get_by_text("Jupyter news")).to_have_count(0)
    picture(page, "jupyterlab")
    # Its kernel holds memory until it is told to go.
    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.get_by_role("menuitem", name="Shut Down Kernel", exact=True).click()
    expect(page.get_by_role("button", name="No Kernel | Unknown")).to_be_visible()


def tried_out(operation: Locator) -> Locator:
    """Send the request that Swagger's page proposes for an operation, and return the answer."""
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_role("button", name="Execute").click()
    return operation.locator(".live-responses-table")


def test_inference_api_is_tried_on_its_page(
    page: Page, deployment: Deployment, picture: Photographer
) -> None:
    page.goto(deployment.url(INFERENCE_API, "/docs"))
    answer = tried_out(page.locator("#operations-predictions-predict"))
    expect(answer.locator("td.response-col_status").last).to_have_text("200")
    expect(answer).to_contain_text('"class_name"')
    answer.scroll_into_view_if_needed()
    picture(page, "inference-api")


def test_data_api_is_tried_on_its_page(
    page: Page, deployment: Deployment, picture: Photographer
) -> None:
    page.goto(deployment.url(DATA_API, "/docs"))
    # What it answers without changing how far a group is.
    first = page.get_by_role("link", name="/", exact=True)
    answer = tried_out(page.locator(".opblock").filter(has=first))
    expect(answer).to_contain_text("/restart_data_generation")
    picture(page, "data-api")
