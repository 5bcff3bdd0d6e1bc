import asyncio
import json
import re
from dataclasses import asdict
from pathlib import Path

import httpx
import pytest

from status_page.app import from_environment, make_app
from status_page.description import Description, DescriptionError
from status_page.documents import Documents
from tests.conftest import PASSWORD, Services, description, observer, service

# The ones that the platform shows.
DOCUMENTS = Path(__file__).parents[2] / "docs"
SERVICE = service("mlflow", "http://mlflow/health")


def ask(client: httpx.AsyncClient, path: str) -> httpx.Response:
    """What the application answers."""

    async def answer() -> httpx.Response:
        described = description(SERVICE)
        app = make_app(described, observer(client, SERVICE), Documents(DOCUMENTS))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://portal") as browser:
            return await browser.get(path)

    return asyncio.run(answer())


def test_page_tells_everything_without_a_script(client: httpx.AsyncClient) -> None:
    page = ask(client, "/").text
    assert "Everything is well" in page
    assert '<a href="https://mlflow.example">mlflow</a>' in page
    assert "what mlflow is for" in page
    assert "Version 1.2" in page
    assert "modelo1, version 7" in page
    assert "0.94" in page
    assert "never ran" in page
    # What comes from outside is text.
    assert "Platform &lt;test&gt;" in page


def test_page_tells_what_is_wrong(services: Services, client: httpx.AsyncClient) -> None:
    services.statuses["/health"] = 500
    page = ask(client, "/").text
    assert "Something is wrong" in page
    assert "status 500" in page


def test_page_is_usable_by_all(client: httpx.AsyncClient) -> None:
    page = ask(client, "/").text
    assert '<html lang="en">' in page
    assert 'name="viewport"' in page
    assert page.count("<h1>") == 1
    # Each section has a title, and what changes is said.
    for title in re.findall(r'aria-labelledby="([^"]+)"', page):
        assert f'id="{title}"' in page
    assert 'role="status"' in page


def test_nothing_is_loaded_from_elsewhere(client: httpx.AsyncClient) -> None:
    answer = ask(client, "/")
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    for address in re.findall(r'(?:src|rel="stylesheet" href)="([^"]+)"', answer.text):
        assert address.startswith("/static/")
        assert ask(client, address).status_code == 200


def test_status_and_health(services: Services, client: httpx.AsyncClient) -> None:
    status = ask(client, "/status").json()
    assert status["health"]["mlflow"]["well"]
    assert status["model"]["version"] == "7"
    assert ask(client, "/health").json() == {"well": True}
    services.statuses["/health"] = 500
    # No more than that is told without a login.
    assert ask(client, "/health").json() == {"well": False}


def test_reads_its_description(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "description.json"
    file.write_text(json.dumps(asdict(description(SERVICE))))
    assert Description.read(file) == description(SERVICE)
    monkeypatch.setenv("DESCRIPTION_FILE", str(file))
    monkeypatch.setenv("DOCUMENTS_FOLDER", str(DOCUMENTS))
    monkeypatch.setenv("AIRFLOW_PASSWORD", PASSWORD)
    assert from_environment().routes


@pytest.mark.parametrize("content", ["no json", "{}", '{"services": [{"name": "a"}]}'])
def test_says_what_its_description_lacks(tmp_path: Path, content: str) -> None:
    file = tmp_path / "description.json"
    file.write_text(content)
    with pytest.raises(DescriptionError, match=r"description\.json"):
        Description.read(file)


def test_every_link_of_the_documentation_leads_somewhere(client: httpx.AsyncClient) -> None:
    to_see, seen = ["/docs/README.md"], set[str]()
    while to_see:
        page = to_see.pop()
        seen.add(page)
        answer = ask(client, page)
        assert answer.status_code == 200, page
        if not page.endswith(".md"):
            continue
        for link in re.findall(r'(?:href|src)="([^"]+)"', answer.text):
            address = httpx.URL(f"http://portal{page}").join(link)
            if address.host != "portal" or not address.path.startswith("/docs/"):
                continue
            if address.fragment:
                assert f'id="{address.fragment}"' in ask(client, address.path).text, link
            if address.path not in seen:
                to_see.append(address.path)
    assert {f"/docs/{file.relative_to(DOCUMENTS)}" for file in DOCUMENTS.rglob("*.md")} <= seen


def test_documents_are_markdown_alone(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("# A *page*\n\n<script>1</script>\n\n| a |\n|---|\n| b |\n")
    documents = Documents(tmp_path)
    file = documents.find("page.md")
    assert file is not None
    document = documents.read(file)
    assert document.title == "A page"
    assert '<h1 id="a-page">' in document.body
    assert "<td>b</td>" in document.body
    assert "<script>" not in document.body


@pytest.mark.parametrize("name", ["none.md", "../README.md", "%2e%2e/README.md", "/etc/passwd", ""])
def test_nothing_but_the_documentation_is_shown(client: httpx.AsyncClient, name: str) -> None:
    assert ask(client, f"/docs/{name}").status_code == 404
