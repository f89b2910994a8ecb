"""The gateway's HTTP API as commands call it: JSON in and out, bounded in time, errors as sentences."""

import http.client
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from deployments.stack.errors import StackError
from deployments.stack.home import StackHome
from deployments.stack.state import load_stack
from gateway.errors import PromptyardError, Unauthenticated
from gateway.settings import Settings

TIMEOUT = 30.0
_LOOPBACK = "127.0.0.1"


class GatewayRefused(PromptyardError):
    """The gateway answered with an error: its message and its hint. ``refused_code`` is the API's error code."""

    def __init__(self, status: int, code: str, message: str, hint: str | None) -> None:
        super().__init__(message, hint=hint)
        self.refused_status = status
        self.refused_code = code


class GatewayClient:
    """One connection that is kept open; use it as a context manager. ``repr`` shows no key."""

    def __init__(self, base_url: str, key: str, timeout: float = TIMEOUT) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise StackError(f"{base_url!r} is not the address of a gateway", hint="Such as http://127.0.0.1:8080.")
        connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = connect(parts.hostname, parts.port, timeout=timeout)
        self._prefix = parts.path.rstrip("/")
        self._key = key
        self.base_url = base_url

    def __enter__(self) -> "GatewayClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def call(
        self, method: str, *path: str, body: Mapping[str, Any] | None = None, query: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """The answer's JSON; ``path`` in segments, which are quoted, as is ``query``.

        Raises GatewayRefused, or StackError when nobody answers at the address.
        """
        target = self._prefix + "".join(f"/{quote(segment, safe='')}" for segment in path)
        target += f"?{urlencode(query)}" if query else ""
        headers = {"authorization": f"Bearer {self._key}", "content-type": "application/json"}
        content = None if body is None else json.dumps(body).encode()
        try:
            try:
                status, answer = self._exchange(method, target, content, headers)
            except (http.client.BadStatusLine, ConnectionError):  # a kept connection was closed meanwhile
                self._connection.close()
                status, answer = self._exchange(method, target, content, headers)
        except (OSError, http.client.HTTPException) as error:
            raise StackError(
                f"the gateway at {self.base_url} does not answer ({type(error).__name__})",
                hint="'promptyard up' starts it, 'promptyard status' shows what runs.",
            ) from None
        if status >= 400:
            raise _refusal(status, answer)
        return answer

    def _exchange(
        self, method: str, target: str, content: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, dict[str, Any]]:
        self._connection.request(method, target, body=content, headers=dict(headers))
        response = self._connection.getresponse()
        try:
            answer = json.loads(response.read())
        except ValueError:
            answer = {}
        return response.status, answer if isinstance(answer, dict) else {}


def _refusal(status: int, answer: Mapping[str, Any]) -> GatewayRefused:
    error = answer.get("error")
    error = error if isinstance(error, dict) else {}
    return GatewayRefused(
        status,
        str(error.get("code") or f"http_{status}"),
        str(error.get("message") or f"the gateway answered with status {status}"),
        error.get("hint"),
    )


def gateway_url(home: StackHome, settings: Settings) -> str:
    """Where this home's gateway listens, without a slash at the end."""
    state = load_stack(home)
    if state is not None and "gateway" in state.urls:
        return state.urls["gateway"].rstrip("/")
    host = _LOOPBACK if settings.host in ("0.0.0.0", "::", "") else settings.host  # noqa: S104
    return f"http://{host}:{settings.port}"


def home_key(home: StackHome) -> str:
    """The home's own API key. Raises Unauthenticated when there is none."""
    try:
        key = home.key_file.read_text().strip()
    except OSError:
        key = ""
    if not key:
        raise Unauthenticated(
            f"there is no API key in {home.key_file}",
            hint="'promptyard up' makes one; or write one of 'promptyard keys create' into that file.",
        )
    return key


def open_gateway(home: StackHome, settings: Settings) -> GatewayClient:
    """A client of this home's gateway with the home's key. Nothing is sent yet."""
    return GatewayClient(gateway_url(home, settings), home_key(home))
