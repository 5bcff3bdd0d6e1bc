"""A client of pgAdmin that does over HTTP what a person does in the browser.

Standard library only: it runs on a test machine and on the control host alike. Its argument is a
JSON object: `url`, `email`, `password`; for an https address, `authority`, the certificate that its
own is checked with, as text; to run a statement, `database` and either `sql` or `file`,
a query that pgAdmin keeps. It prints another one: `refused`, or `servers`, `files`, and `rows` or
`error`.
"""

from __future__ import annotations

import http.cookiejar
import json
import re
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

_QUERY_SECONDS = 30


class Client:
    """A browser's session."""

    def __init__(self, url: str, authority: str | None) -> None:
        self._url = url
        self._token = ""
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()),
            urllib.request.HTTPSHandler(context=ssl.create_default_context(cadata=authority)),
        )

    def log_in(self, email: str, password: str) -> bool:
        """Fill in the login page; tell whether pgAdmin took it."""
        page = self._send("/login?next=/browser/")
        match = re.search(r'"csrfToken": "([^"]+)"', page)
        assert match, page
        form = {"email": email, "password": password, "csrf_token": match.group(1)}
        self._send(
            "/authenticate/login", urllib.parse.urlencode(form | {"internal_button": "Login"})
        )
        try:
            script = self._send("/browser/js/utils.js")
        except urllib.error.HTTPError:
            return False
        token = re.search(r"pgAdmin\['csrf_token'\] ?= ?'([^']+)'", script)
        self._token = token.group(1) if token else ""
        return bool(token)

    def servers(self) -> dict[str, tuple[int, int]]:
        """The registered servers: the numbers of group and server by name."""
        groups = self._json("/browser/nodes/")["data"]
        return {
            server["label"]: (group["_id"], server["_id"])
            for group in groups
            if group["_type"] == "server_group"
            for server in self._json(f"/browser/server/nodes/{group['_id']}/")["result"]
        }

    def files(self, folder: str) -> list[str]:
        """The names of the user's files in a folder."""
        dialog = {"dialog_type": "open_file", "supported_types": ["sql"]}
        session = self._json("/file_manager/init", dialog)["data"]
        answer = self._json(
            f"/file_manager/filemanager/{session['transId']}/",
            {"mode": "getfolder", "path": folder, "file_type": "sql"},
        )
        return sorted(entry["Filename"] for entry in answer["data"]["result"])

    def read(self, path: str) -> str:
        """The content of one of the user's files, as the query tool opens it."""
        return self._send("/file_manager/load_file/", json.dumps({"file_name": path}))

    def query(self, group: int, server: int, name: str, sql: str) -> Any:
        """Connect without a password, run a statement on a database, and return its rows."""
        self._json(f"/browser/server/connect/{group}/{server}", {})
        databases = self._json(f"/browser/database/nodes/{group}/{server}/")["data"]
        (database,) = [entry for entry in databases if entry["label"] == name]
        editor = 4711  # any number that the session does not use yet
        self._json(
            f"/sqleditor/initialize/sqleditor/{editor}/{group}/{server}/{database['_id']}",
            {"dbname": name},
        )
        started = self._json(f"/sqleditor/query_tool/start/{editor}", {"sql": sql})
        assert started["data"]["status"], started
        deadline = time.monotonic() + _QUERY_SECONDS
        while True:
            answer = self._json(f"/sqleditor/poll/{editor}")["data"]
            if answer["status"] != "Busy":
                return answer["result"]
            assert time.monotonic() < deadline, answer
            time.sleep(0.2)

    def _json(self, path: str, body: object = None) -> Any:
        return json.loads(self._send(path, None if body is None else json.dumps(body)))

    def _send(self, path: str, body: str | None = None) -> str:
        kind = "application/json" if self._token else "application/x-www-form-urlencoded"
        # Over HTTPS, pgAdmin asks where a request comes from.
        headers = {"X-pgA-CSRFToken": self._token, "Content-Type": kind, "Referer": self._url}
        request = urllib.request.Request(  # noqa: S310 - the caller's address
            self._url + path, body.encode() if body is not None else None, headers
        )
        try:
            with self._opener.open(request, timeout=_QUERY_SECONDS) as response:
                return str(response.read().decode())
        except urllib.error.HTTPError as error:
            error.msg = f"{error.msg}: {path}: {error.read().decode()[:500]}"
            raise


def main() -> None:
    """Do what the argument asks for."""
    asked = json.loads(sys.argv[1])
    client = Client(asked["url"], asked.get("authority"))
    if not client.log_in(asked["email"], asked["password"]):
        print(json.dumps({"refused": True}))
        return
    servers = client.servers()
    answer: dict[str, Any] = {"servers": sorted(servers), "files": client.files("/platform")}
    if "database" in asked:
        ((group, server),) = servers.values()
        sql = client.read(asked["file"]) if "file" in asked else asked["sql"]
        try:
            answer["rows"] = client.query(group, server, asked["database"], sql)
        except urllib.error.HTTPError as error:
            answer["error"] = error.msg
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
