"""Who may ask what: host names, origins, API keys and body sizes, checked before any handler runs; and the headers every answer carries.

In: an ASGI request. Out: the app's answer, or OpenAI's error body. Pure ASGI, because it stands in the way of every streamed token.
"""

import hmac
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from noria.errors import ServeError
from noria.serve import problems
from noria.serve.config import ServeConfig

_OPEN_PATHS = ("/healthz", "/readyz", "/studio/")
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class Access:
    """ASGI middleware; sets `scope["state"]["operator"]` for the handlers."""

    def __init__(self, app: ASGIApp, config: ServeConfig) -> None:
        self.app = app
        self.max_body_bytes = config.max_body_bytes
        self.host_names = config.host_names()
        self.user_keys = config.api_keys()
        self.operator_keys = config.operator_keys()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        try:
            scope.setdefault("state", {})["operator"] = self._check(scope)
        except ServeError as error:
            await problems.respond(error)(scope, receive, send_with_headers)
            return
        await self.app(scope, self._limited(receive), send_with_headers)

    def _check(self, scope: Scope) -> bool:
        """Whether an operator asks. Raises ServeError for a request that may not be answered."""
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        if _without_port(host) not in self.host_names:
            raise ServeError(f"This server does not answer to the host {host!r:.80}. Add it to `allowed_hosts` in [serve].", 403, "host_not_allowed")
        origin = headers.get(b"origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            raise ServeError("Requests from other web pages are not answered.", 403, "origin_not_allowed")
        if scope["method"] == "POST":
            if headers.get(b"content-type", "").split(";")[0].strip().lower() != "application/json":
                raise ServeError("Send the body as JSON with `Content-Type: application/json`.", 415, "unsupported_media_type")
            length = headers.get(b"content-length", "0")
            if not length.isdigit() or int(length) > self.max_body_bytes:
                raise self._too_large()
        return self._operator(scope["path"], headers)

    def _operator(self, path: str, headers: dict[bytes, str]) -> bool:
        if not self.user_keys and not self.operator_keys:
            return True
        scheme, _, key = headers.get(b"authorization", "").partition(" ")
        key = key.strip() if scheme.lower() == "bearer" else ""
        if _among(key, self.operator_keys):
            return True
        if _among(key, self.user_keys) or path == "/" or path.startswith(_OPEN_PATHS) or not self.user_keys:
            return False
        raise ServeError("The API key is missing or wrong; send it as `Authorization: Bearer KEY`.", 401, "invalid_api_key")

    def _limited(self, receive: Receive) -> Receive:
        """`receive` for bodies that do not say how long they are."""
        size = 0

        async def limited() -> Message:
            nonlocal size
            message = await receive()
            if message["type"] == "http.request":
                size += len(message.get("body", b""))
                if size > self.max_body_bytes:
                    raise self._too_large()
            return message

        return limited

    def _too_large(self) -> ServeError:
        return ServeError(
            f"The request body is larger than {self.max_body_bytes} bytes. Send less, or raise `max_body_bytes` in [serve].", 413, "body_too_large"
        )


def _without_port(host: str) -> str:
    """`127.0.0.1:8000` -> `127.0.0.1`; `[::1]:8000` -> `[::1]`."""
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdigit() else host.lower()


def _among(key: str, keys: Iterable[str]) -> bool:
    """Compared with every key in constant time."""
    found = False
    for known in keys:
        found |= hmac.compare_digest(key.encode(), known.encode())
    return found
