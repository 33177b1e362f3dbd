"""`noria serve`: a project behind uvicorn, until it is stopped."""

import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any

import uvicorn

from noria.config import Project
from noria.errors import ServeError
from noria.serve.app import create_app
from noria.serve.runtime import ChangeRelease, Runtime

GRACE_SECONDS = 5


def run(
    project: Project,
    port: int | None = None,
    host: str | None = None,
    *,
    promote: ChangeRelease | None = None,
    rollback: ChangeRelease | None = None,
    ready: Callable[[str], None] | None = None,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Serve a project until SIGINT or SIGTERM.

    Args:
        port: to listen on; None takes `[serve] port`, 0 a free one.
        promote: lets a release go live for an operator of the page: (release id, reason) -> the release. None offers no such button.
        rollback: the same for going back.
        ready: called with the address (`http://127.0.0.1:8000`) once the server listens; None prints it to stderr.
        options: further options of `Runtime.open`.

    Raises:
        ServeError: the port is taken.
        NoriaError: the project cannot be served.
    """
    runtime = Runtime.open(project, {"port": port, "host": host}, promote=promote, rollback=rollback, **(options or {}))
    try:
        listener = listen(runtime.config.host, runtime.config.port)
        address = address_of(listener)
        (ready or _announce)(address)
        server = uvicorn.Server(uvicorn_config(runtime))
        server.run(sockets=[listener])
    finally:
        runtime.close()


def uvicorn_config(runtime: Runtime) -> uvicorn.Config:
    """How the app is run: no access log (requests are counted, not written down), and few seconds for open streams at the end."""
    return uvicorn.Config(
        create_app(runtime),
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        timeout_graceful_shutdown=GRACE_SECONDS,
        proxy_headers=False,
        ws="none",
    )


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises ServeError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ServeError(
            f"Cannot listen on {host}:{port}: {error.strerror}. Take another port: `noria serve --port N` (0 takes a free one)."
        ) from error
    listener.listen(socket.SOMAXCONN)
    return listener


def address_of(listener: socket.socket) -> str:
    """The URL under which people reach a socket."""
    host, port = listener.getsockname()[:2]
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}"


def _announce(address: str) -> None:
    sys.stderr.write(f"Serving on {address} (stop with Ctrl+C)\n")
    sys.stderr.flush()
