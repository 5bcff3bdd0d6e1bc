"""JSON (and forms) over HTTP, with failures that name likely causes."""

import functools
import json
import re
import ssl
import urllib.error
import urllib.parse
import urllib.request
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from control.errors import ControlError

TIMEOUT_SECONDS = 15.0

# nginx's own errors are pages of HTML.
_MARKUP = re.compile(r"<[^<>]*>")


class UnreachableError(ControlError):
    """No answer came."""


@dataclass(frozen=True)
class Answer:
    """An HTTP answer.

    Attributes:
        status: the status code.
        body: the decoded JSON; text where it is no JSON.
    """

    status: int
    body: Any

    @property
    def detail(self) -> str:
        """What an error says about itself, in a line."""
        detail = self.body.get("detail", self.body) if isinstance(self.body, dict) else self.body
        text = detail if isinstance(detail, str) else json.dumps(detail)
        text = " ".join(_MARKUP.sub(" ", text).split())
        return text if len(text) <= 500 else f"{text[:497]}..."


def send(
    method: str,
    url: str,
    body: object = None,
    *,
    form: Mapping[str, str] | None = None,
    token: str | None = None,
    login: tuple[str, str] | None = None,
    trusted: tuple[Path, ...] = (),
    timeout: float = TIMEOUT_SECONDS,
) -> Answer:
    """Send a request and give its answer, whatever its status.

    Args:
        method: the HTTP method.
        url: an http or https address.
        body: sent as JSON, None for none.
        form: sent as the fields of a form where there is no body, None for none.
        token: sent as bearer token, None for none.
        login: user and password, sent with the request; None for none.
        trusted: files with certificates that are trusted besides the host's.
        timeout: seconds to wait for the connection, and for each part of the answer.

    Raises:
        UnreachableError: no answer came; the message names likely causes.
    """
    headers = {"Accept": "application/json"}
    data = None
    if body is not None:
        data = json.dumps(body).encode()
        headers["Content-Type"] = "application/json"
    elif form is not None:
        data = urllib.parse.urlencode(form).encode()
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    if token:
        headers["Authorization"] = f"Bearer {token}"
    elif login:
        headers["Authorization"] = f"Basic {b64encode(':'.join(login).encode()).decode()}"
    request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310 - http only
    opener = _opener(trusted if url.startswith("https:") else ())
    try:
        with opener.open(request, timeout=timeout) as response:
            return Answer(response.status, _decode(response.read()))
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, _decode(error.read()))
    except (OSError, HTTPException) as error:
        raise UnreachableError(f"{method} {url}: {_explain(error, timeout)}") from error


@functools.cache
def _opener(trusted: tuple[Path, ...]) -> urllib.request.OpenerDirector:
    """What sends requests, and whom it trusts.

    Raises:
        ControlError: a file is not there.
    """
    context = ssl.create_default_context()
    # A server's certificate can be trusted itself, whoever has signed it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    for file in trusted:
        try:
            context.load_verify_locations(file)
        except OSError as error:
            raise ControlError(
                f"{file}, which certificates are checked with, cannot be read: {error}. "
                "`make up` makes it."
            ) from error
    # The machines are on this host: a proxy for the outside must not see these requests.
    return urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )


def _decode(content: bytes) -> Any:
    text = content.decode(errors="replace")
    try:
        return json.loads(text)
    except ValueError:
        return text


def _explain(error: Exception, timeout: float) -> str:
    """Say what a failed connection most likely means."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, TimeoutError):
        return (
            f"no answer within {timeout:.0f} s. The machine is overloaded or hangs; "
            "`make status` shows its services."
        )
    if isinstance(reason, ConnectionRefusedError):
        return (
            "nothing listens there. The service has not started or has failed; "
            "`make status` shows it."
        )
    if isinstance(reason, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not to be trusted ({reason.verify_message}). `make up` gives it "
            "one from the authority of this deployment."
        )
    if isinstance(reason, ConnectionError | HTTPException):
        return f"the connection broke off ({reason}). The service may be restarting; try again."
    return f"{reason}. Is the machine running? `make up` starts it."
