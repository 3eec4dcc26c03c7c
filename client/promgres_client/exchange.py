"""One HTTP connection: a request out, an answer in. No retries here."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import re
import socket
import ssl
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from promgres_client.errors import Unreachable

VERSION = version("promgres-client")
GZIP_FROM_BYTES = 1024
_LONGEST_REASON = 300


class Secret:
    """A text that never shows in a repr, a log or a traceback."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return "Secret(…)"

    def reveal(self) -> str:
        """The text."""
        return self._text


class Endpoint:
    """Where a server is and how one speaks to it.

    Args:
        url: http or https, with or without a path before `/api/v1/…`.
        key: API key, sent as a bearer token.
        timeout_seconds: for connecting, and for each read.
        context: of TLS; default: the system's certificates.

    Raises:
        ValueError: the URL or the key cannot be used. The key is not in the text.
    """

    def __init__(
        self,
        url: str,
        key: str | None,
        timeout_seconds: float,
        context: ssl.SSLContext | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("a URL is http://HOST:PORT or https://HOST:PORT")
        if "@" in parts.netloc:
            raise ValueError("no credentials in the URL, please: give the API key as `key`")
        if parts.query or parts.fragment:
            raise ValueError("a URL has no query here: http://HOST:PORT")
        if key is not None and not re.fullmatch(r"[!-~]+", key):
            raise ValueError("an API key consists of visible ASCII characters")
        self.url = url.rstrip("/")
        self.path = parts.path.rstrip("/")
        self.timeout_seconds = timeout_seconds
        self._host, self._port = parts.hostname, parts.port
        self._secret = Secret(key) if key is not None else None
        self._context = context
        if parts.scheme == "https" and context is None:
            self._context = ssl.create_default_context()
        self._is_tls = parts.scheme == "https"

    def connect(self) -> http.client.HTTPConnection:
        """A connection that will be opened by its first request."""
        if self._is_tls:
            return http.client.HTTPSConnection(
                self._host, self._port, timeout=self.timeout_seconds, context=self._context
            )
        return http.client.HTTPConnection(self._host, self._port, timeout=self.timeout_seconds)

    def headers(self) -> dict[str, str]:
        """What every request carries."""
        headers = {"User-Agent": f"promgres-client/{VERSION}", "Accept": "application/json"}
        if self._secret is not None:
            headers["Authorization"] = f"Bearer {self._secret.reveal()}"
        return headers


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def reason(self) -> str:
        """What it says, as one short line: its `message` and `details`, or all of it."""
        document, text = self.document(), self.body.decode("utf-8", "replace")
        if isinstance(document, dict) and document.get("message"):
            said = (document["message"], document.get("details"))
            text = ": ".join(str(part) for part in said if part)
        text = " ".join(text.split())
        return text[:_LONGEST_REASON] or "no reason given"

    def retry_after_seconds(self) -> float:
        """What the server asks for, 0 if nothing."""
        text = (self.headers.get("Retry-After") or "").strip()
        if re.fullmatch(r"\d{1,9}(\.\d+)?", text):
            return float(text)
        try:
            return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
        except (TypeError, ValueError):
            return 0.0

    def document(self) -> Any:
        """The body as JSON; None if it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class Exchange:
    """A connection that is kept, opened again when it is not there any more."""

    def __init__(self, endpoint: Endpoint, compress: bool = False) -> None:
        self._endpoint = endpoint
        self._compress = compress
        self._connection: http.client.HTTPConnection | None = None

    def post(self, path: str, body: bytes) -> Answer:
        """Send JSON.

        Raises:
            Unreachable: no answer came; the server may have stored it all the same.
        """
        headers = {"Content-Type": "application/json"}
        if self._compress and len(body) >= GZIP_FROM_BYTES:
            headers["Content-Encoding"] = "gzip"
            body = gzip.compress(body, compresslevel=1)
        return self.request("POST", path, body, headers)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Any request. A kept connection that turns out to be dead is replaced once.

        Raises:
            Unreachable: no answer came.
        """
        was_used = self._connection is not None
        try:
            return self._once(method, path, body, headers)
        except Unreachable as error:
            if not was_used or isinstance(error.__cause__, socket.timeout):
                raise
        return self._once(method, path, body, headers)

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _once(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None
    ) -> Answer:
        connection = self._connection = self._connection or self._endpoint.connect()
        everything = {**self._endpoint.headers(), **(headers or {})}
        try:
            # Whoever refuses a body without reading it has often said why.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, self._endpoint.path + path, body, everything)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unreachable(_words(error)) from error


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
