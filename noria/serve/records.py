"""The endpoints over what is recorded: models, tools, feedback, receipts, conversations, releases, and the state of the server."""

from functools import cache
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from noria import __version__
from noria.agent.demonstrations import UnknownToolError, check_demonstration
from noria.errors import DataError, NoriaError, ServeError
from noria.schema import Release
from noria.serve.heads import ClassifyBody, EmbeddingsBody, Heads
from noria.serve.metrics import Metrics
from noria.serve.receipts import conversation_body, receipt_body, release_name
from noria.serve.runtime import ChangeRelease, Runtime
from noria.serve.wire import ChangeBody, FeedbackBody

Name = Annotated[str, Path(max_length=128)]


def router(runtime: Runtime, metrics: Metrics) -> APIRouter:
    """The routes, bound to one runtime. Their functions block and run in the server's thread pool."""
    routes = APIRouter()
    _model_routes(routes, runtime)
    _head_routes(routes, runtime)
    _feedback_routes(routes, runtime, metrics)
    _release_routes(routes, runtime, metrics)
    _health_routes(routes, runtime, metrics)
    return routes


def _head_routes(routes: APIRouter, runtime: Runtime) -> None:
    @cache
    def heads() -> Heads:
        return Heads(runtime.config.heads, runtime.project.root)

    @routes.post("/v1/classify")
    def classify(body: ClassifyBody) -> dict[str, Any]:
        return heads().answer(body)

    @routes.post("/v1/embeddings")
    def embeddings(body: EmbeddingsBody) -> dict[str, Any]:
        return heads().answer(body)


def _model_routes(routes: APIRouter, runtime: Runtime) -> None:
    def model(name: str, release: Release) -> dict[str, Any]:
        created = int(release.created_at.timestamp())
        return {"id": name, "object": "model", "created": created, "owned_by": "noria", "noria": release_name(release)}

    def models() -> list[dict[str, Any]]:
        name, live = runtime.about.name, runtime.releases.live()
        first = [model(name, live), model(f"{name}:raw", live)] if live is not None else []
        return first + [model(f"{name}@r{release.number}", release) for release in runtime.releases.list()]

    @routes.get("/v1/models")
    def list_models() -> dict[str, Any]:
        return {"object": "list", "data": models()}

    @routes.get("/v1/models/{name}")
    def get_model(name: Name) -> dict[str, Any]:
        for found in models():
            if found["id"] == name:
                return found
        raise ServeError(f"The model {name!r:.80} does not exist.", 404, "model_not_found", "model")

    @routes.get("/v1/tools")
    def list_tools() -> dict[str, Any]:
        with runtime.engines.lease(runtime.current()) as serving:
            specs = serving.specs
        return {"object": "list", "data": [{**spec.to_openai(), "effect": spec.effect} for spec in specs]}

    @routes.get("/v1/project")
    def get_project(request: Request) -> dict[str, Any]:
        live = runtime.releases.live()
        operator = _operator(request)
        return {
            "object": "noria.project",
            "name": runtime.about.name,
            "description": runtime.about.description,
            "language": runtime.about.language,
            "live": f"r{live.number}" if live is not None else None,
            "operator": operator,
            "may_change": _may_change(runtime, request),
        }


def _feedback_routes(routes: APIRouter, runtime: Runtime, metrics: Metrics) -> None:
    @routes.post("/v1/feedback", status_code=201)
    def add_feedback(request: Request, body: FeedbackBody) -> dict[str, Any]:
        if body.role != "user" and not _operator(request):
            raise ServeError(f"Only operators may give feedback in the role '{body.role}'; send `role` 'user'.", 403, "operator_only", "role")
        if runtime.traces.turn(body.receipt) is None:
            raise ServeError(
                f"There is no answer with the receipt {body.receipt!r:.80}. It is the `id` of an answer, and its header `x-noria-receipt`.",
                404,
                "receipt_not_found",
                "receipt",
            )
        if body.kind == "demonstration":
            _check_calls(runtime, body)
        stored = runtime.feedback.add(body.receipt, body.kind, body.value, body.source, body.role, body.step)  # type: ignore[arg-type]
        metrics.feedback.labels(stored.kind).inc()
        return {"object": "noria.feedback", **stored.model_dump(mode="json")}

    @routes.get("/v1/receipts/{receipt}")
    def get_receipt(request: Request, receipt: Name) -> dict[str, Any]:
        return receipt_body(runtime, receipt, _operator(request))

    @routes.get("/v1/conversations/{conversation_id}")
    def get_conversation(request: Request, conversation_id: Name) -> dict[str, Any]:
        return conversation_body(runtime, conversation_id, _operator(request))


def _check_calls(runtime: Runtime, body: FeedbackBody) -> None:
    try:
        check_demonstration(runtime.traces, runtime.toolbox, body.receipt, body.value)
    except UnknownToolError as error:
        raise ServeError(str(error), 400, "unknown_tool", "value") from error
    except DataError as error:
        raise ServeError(str(error), 400, "invalid_value", "value") from error


def _release_routes(routes: APIRouter, runtime: Runtime, metrics: Metrics) -> None:
    def shown(release: Release) -> dict[str, Any]:
        reports = [report.model_dump(mode="json") for report in runtime.releases.reports(release.id)]
        moves = [move.model_dump(mode="json") for move in runtime.releases.moves(release.id)]
        return {"object": "noria.release", **release.model_dump(mode="json"), "name": f"r{release.number}", "reports": reports, "moves": moves}

    @routes.get("/v1/releases")
    def list_releases(request: Request) -> dict[str, Any]:
        newest_first = sorted(runtime.releases.list(), key=lambda release: -release.number)
        return {"object": "list", "data": [shown(release) for release in newest_first], "may_change": _may_change(runtime, request)}

    @routes.get("/v1/releases/{name}")
    def get_release(name: Name) -> dict[str, Any]:
        return shown(runtime.release(name))

    def change(request: Request, name: str, body: ChangeBody, how: ChangeRelease | None, what: str) -> dict[str, Any]:
        if not _operator(request):
            raise ServeError("Only operators may change releases; send an operator's API key.", 403, "operator_only")
        if how is None:
            raise ServeError(f"This server cannot {what} releases. Run `noria release {what} {name}`.", 403, "not_offered")
        release = runtime.release(name)
        try:
            live = how(release.id, body.reason or f"{what} in the studio")
        except ServeError:
            raise
        except NoriaError as error:
            raise ServeError(str(error), 409, "release_not_changed") from error
        metrics.live.set(live.number)
        return shown(live)

    @routes.post("/v1/releases/{name}/promote")
    def promote(request: Request, name: Name, body: ChangeBody | None = None) -> dict[str, Any]:
        return change(request, name, body or ChangeBody(), runtime.promote, "promote")

    @routes.post("/v1/releases/{name}/rollback")
    def rollback(request: Request, name: Name, body: ChangeBody | None = None) -> dict[str, Any]:
        return change(request, name, body or ChangeBody(), runtime.rollback, "rollback")


def _health_routes(routes: APIRouter, runtime: Runtime, metrics: Metrics) -> None:
    @routes.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok", "version": __version__}

    @routes.get("/readyz")
    def readyz() -> Response:
        """Ready when the live release (or, if it is broken, a good one before it) is in memory and the database answers."""
        live = runtime.releases.live()
        loaded = runtime.engines.loaded
        broken = {runtime.releases.get(release_id).number: reason for release_id, reason in runtime.engines.broken.items()}
        state = {
            "status": "ready" if loaded else "loading",
            "live": f"r{live.number}" if live is not None else None,
            "loaded": [f"r{runtime.releases.get(release_id).number}" for release_id in loaded],
            "broken": {f"r{number}": reason for number, reason in broken.items()},
        }
        return JSONResponse(state, 200 if loaded else 503)

    @routes.get("/metrics")
    def get_metrics() -> Response:
        metrics.engines.set(len(runtime.engines.loaded))
        live = runtime.releases.live()
        metrics.live.set(live.number if live is not None else 0)
        return PlainTextResponse(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _operator(request: Request) -> bool:
    return bool(request.scope.get("state", {}).get("operator"))


def _may_change(runtime: Runtime, request: Request) -> bool:
    return _operator(request) and runtime.promote is not None and runtime.rollback is not None
