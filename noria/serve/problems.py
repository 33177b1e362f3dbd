"""Errors as HTTP answers: every one carries OpenAI's body `{"error": {message, type, param, code}}`.

In: any exception of a request. Out: status, headers and body. Noria's own errors say what to do and are passed on; a foreign exception is
logged with its trace and answered without its text. Request bodies never appear in the log.
"""

import json
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
ONLY_WITHOUT_EFFECT = ("n", "top_logprobs", "frequency_penalty", "presence_penalty", "logit_bias", "modalities")
"""Fields of `ChatBody` that are accepted only with values that change nothing."""
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def body_of(message: str, status: int, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """OpenAI's error body. Half characters of the request that a message quotes are written as escapes: no answer could carry them."""
    message, param = _carried(message), None if param is None else _carried(param)
    kind = _TYPES.get(status) or ("server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _carried(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def describe(error: BaseException) -> tuple[int, dict[str, Any]]:
    """Status and body of an exception."""
    if isinstance(error, ServeError):
        return error.status, body_of(str(error), error.status, error.code or ("invalid_value" if error.status == 400 else None), error.param)
    for kind, status, code in _KINDS:
        if isinstance(error, kind):
            if status >= 500:
                log.error("%s: %s", code, error)
            param = error.field if isinstance(error, DataError) else "messages" if kind is ContextOverflowError else None
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
        allowed = (error.headers or {}).get("Allow", "another method")
        told = {
            400: ("The request body is not valid JSON, or nested too deeply.", "invalid_json"),
            404: (f"No such address: {request.method} {request.url.path}.", "not_found"),
            405: (f"{request.method} is not allowed for {request.url.path}; allowed: {allowed}.", "method_not_allowed"),
        }
        message, code = told.get(error.status_code, (str(error.detail), None))
        return JSONResponse(body_of(message, error.status_code, code), error.status_code, headers=error.headers)

    app.add_exception_handler(NoriaError, noria_error)
    app.add_exception_handler(RequestValidationError, bad_field)
    app.add_exception_handler(HTTPException, no_route)
    app.add_exception_handler(Exception, noria_error)


def _field_error(error: RequestValidationError) -> ServeError:
    """The first thing wrong with a body, as one sentence that names the field."""
    first = error.errors()[0]
    path = [part for part in first["loc"] if part != "body"]
    if path[:1] == ["stop"]:  # pydantic names the member of the union that came closest
        path = ["stop"]
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    if first["type"] == "json_invalid":
        return ServeError("The request body is not valid JSON.", code="invalid_json")
    if not field:
        return ServeError("The request body must be a JSON object, sent with `Content-Type: application/json`.", code="invalid_json")
    if first["type"] == "missing":
        return ServeError(f"Field `{field}` is missing.", code="missing_required_parameter", param=field)
    if first["type"] == "extra_forbidden":
        return ServeError(f"Field `{field}` is unknown or not supported.", code="unknown_parameter", param=field)
    if path[0] in ONLY_WITHOUT_EFFECT:
        return ServeError(f"`{path[0]}` is not supported here; leave it out.", code="unsupported_parameter", param=str(path[0]))
    if first["type"] == "too_short":
        return ServeError(f"`{field}` is empty; send at least one.", code="invalid_value", param=field)
    if path == ["stop"]:
        return ServeError("`stop` must be a text, or a list of one to four texts.", code="invalid_value", param="stop")
    given = json.dumps(first["input"], ensure_ascii=False, default=str)
    return ServeError(f"Field `{field}` is {given:.80}: {first['msg']}.", code="invalid_value", param=field)
