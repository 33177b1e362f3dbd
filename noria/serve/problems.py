"""Errors as HTTP answers: every one carries OpenAI's body `{"error": {message, type, param, code}}`.

In: any exception of a request. Out: status, headers and body. Noria's own errors say what to do and are passed on; a foreign exception is
logged with its trace and answered without its text. Request bodies never appear in the log.
"""

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from noria.errors import ArtifactError, ContextOverflowError, DataError, DependencyError, ModelError, NoriaError, ServeError, StoreError

log = logging.getLogger("noria.serve")

_KINDS: tuple[tuple[type[NoriaError], int, str], ...] = (
    (ContextOverflowError, 400, "context_length_exceeded"),
    (DataError, 400, "invalid_value"),
    (ModelError, 503, "engine_unavailable"),
    (DependencyError, 503, "engine_unavailable"),
    (ArtifactError, 503, "release_unavailable"),
    (StoreError, 503, "store_unavailable"),
)
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def body_of(message: str, status: int, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """OpenAI's error body."""
    kind = _TYPES.get(status) or ("server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def describe(error: BaseException) -> tuple[int, dict[str, Any]]:
    """Status and body of an exception."""
    if isinstance(error, ServeError):
        return error.status, body_of(str(error), error.status, error.code or ("invalid_value" if error.status == 400 else None), error.param)
    for kind, status, code in _KINDS:
        if isinstance(error, kind):
            if status >= 500:
                log.error("%s: %s", code, error)
            param = "messages" if kind is ContextOverflowError else None
            return status, body_of(str(error), status, code, param)
    if isinstance(error, NoriaError):
        log.error("agent error: %s", error)
        return 500, body_of(str(error), 500, "agent_error")
    log.error("unexpected error", exc_info=error)
    return 500, body_of("The server failed unexpectedly; its log says why.", 500, "internal_error")


def respond(error: BaseException, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The answer to a request that failed with this exception."""
    status, body = describe(error)
    extra = {"Retry-After": "1"} if status in (429, 503) else {}
    return JSONResponse(body, status, headers={**extra, **(headers or {})})


def install(app: FastAPI) -> None:
    """Make every failure of `app` answer with OpenAI's error body."""

    async def noria_error(_: Request, error: Exception) -> JSONResponse:
        return respond(error)

    async def bad_field(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return respond(_field_error(error))

    async def no_route(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        if isinstance(error.__cause__, NoriaError):  # FastAPI wraps what is raised while the body is read
            return respond(error.__cause__)
        what = {404: f"No such address: {request.method} {request.url.path}.", 405: f"{request.method} is not allowed for {request.url.path}."}
        body = body_of(what.get(error.status_code, str(error.detail)), error.status_code, "not_found" if error.status_code == 404 else None)
        return JSONResponse(body, error.status_code, headers=error.headers)

    app.add_exception_handler(NoriaError, noria_error)
    app.add_exception_handler(RequestValidationError, bad_field)
    app.add_exception_handler(HTTPException, no_route)
    app.add_exception_handler(Exception, noria_error)


def _field_error(error: RequestValidationError) -> ServeError:
    """The first thing wrong with a body, as one sentence that names the field."""
    first = error.errors()[0]
    path = [part for part in first["loc"] if part != "body"]
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    if first["type"] == "json_invalid":
        return ServeError("The request body is not valid JSON.", code="invalid_json")
    if not field:
        return ServeError("The request body must be a JSON object, sent with `Content-Type: application/json`.", code="invalid_json")
    if first["type"] == "missing":
        return ServeError(f"Field `{field}` is missing.", code="missing_required_parameter", param=field)
    if first["type"] == "extra_forbidden":
        return ServeError(f"Field `{field}` is unknown or not supported.", code="unknown_parameter", param=field)
    return ServeError(f"Field `{field}` is {first['input']!r:.80}: {first['msg']}.", code="invalid_value", param=field)
