"""The FastAPI app of a project: `create_app(Runtime) -> FastAPI`. What each address takes and gives stands in docs/http.md."""

import logging
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files

import anyio.to_thread
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from noria import __version__
from noria.errors import NoriaError
from noria.serve import problems
from noria.serve.access import Access
from noria.serve.chat import ChatEndpoint
from noria.serve.metrics import Metrics
from noria.serve.records import router
from noria.serve.resuming import finish_open_turns
from noria.serve.runtime import Runtime
from noria.serve.wire import ChatBody

log = logging.getLogger("noria.serve")
STUDIO_DIR = str(files("noria") / "studio")
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'; require-trusted-types-for 'script'"
)


def create_app(runtime: Runtime) -> FastAPI:
    """The HTTP surface of a runtime. The app opens nothing and closes nothing but its own threads: the runtime is its caller's."""
    metrics = Metrics()
    chat = ChatEndpoint(runtime, metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = max(40, runtime.config.max_concurrent)
        stop = threading.Event()
        watcher = threading.Thread(target=_watch, args=(runtime, stop), name="releases", daemon=True)
        watcher.start()
        yield
        stop.set()
        chat.close()
        watcher.join()

    app = FastAPI(title="Noria", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url="/v1/openapi.json")
    problems.install(app)

    @app.post("/v1/chat/completions")
    async def complete(request: Request, body: ChatBody) -> Response:
        return await chat(request, body)

    app.include_router(router(runtime, metrics))
    _add_studio(app)
    app.add_middleware(Observed, metrics=metrics)
    app.add_middleware(Access, config=runtime.config)
    return app


def _add_studio(app: FastAPI) -> None:
    headers = {"Content-Security-Policy": CONTENT_SECURITY_POLICY, "Cache-Control": "no-cache"}

    @app.get("/", include_in_schema=False)
    async def studio() -> Response:
        return FileResponse(f"{STUDIO_DIR}/index.html", headers=headers)

    app.mount("/studio", _StudioFiles(directory=STUDIO_DIR))


class _StudioFiles(StaticFiles):
    """The page's files; asked for anew at each visit, so that an upgrade shows at once."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers["Cache-Control"] = "no-cache"
        response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        return response


class Observed:
    """ASGI middleware that counts requests by route and status, and times them to the end of their answer."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.monotonic(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noting)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.seconds.labels(route).observe(time.monotonic() - started)
            if status >= 400:
                self.metrics.errors.labels(scope.get("state", {}).get("error_code") or str(status)).inc()


def _watch(runtime: Runtime, stop: threading.Event) -> None:
    """Load the live release, take up what a kill left open, then keep the newest live release in memory before anyone needs it."""
    started = runtime.clock.now()
    resumed = False
    while True:
        try:
            runtime.current()
            if not resumed:
                resumed = True
                _resume(runtime, started)
        except NoriaError as error:
            log.warning("%s", error)
        except Exception:
            log.exception("watching for releases failed")
        if stop.wait(runtime.config.poll_seconds):
            return


def _resume(runtime: Runtime, started: object) -> None:
    """Go on with the turns over HTTP that a kill left open; the client finds the answers in its conversation.

    Those that another server of the project is answering are held by it, and left to it.
    """
    for turn in runtime.traces.open_turns():
        conversation = runtime.traces.conversation(turn.conversation_id)
        if conversation is None or conversation.metadata.get("channel") != "http" or turn.created_at >= started:  # type: ignore[operator]
            continue
        try:
            with runtime.alone(conversation.id), runtime.engines.lease(runtime.release(conversation.release_id)) as serving:
                finish_open_turns(runtime, conversation, serving)
        except NoriaError as error:
            log.warning("turn %s, which was interrupted, could not be finished: %s", turn.id, error)
