"""A small OpenAI-compatible server around any generator, with faults on order: for tests of clients.

    with openai_server(generator, faults=[Fault(status=429), Fault(cut_after=1)]) as server:
        RemoteGenerator(server.url, "any")

Only streamed chat completions; faults are used up one a request, then requests are answered.
"""

import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import iterate_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from noria.errors import NoriaError
from noria.schema import Delta, Generation, GenerationRequest, Generator, Message, ToolSpec


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong with one request."""

    status: int | None = None
    """Answer with this status instead."""
    headers: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] | None = None
    cut_after: int | None = None
    """End the stream after so many events, without saying why."""
    delay_seconds: float = 0.0
    """Be silent this long first."""


@dataclass
class OpenAIServer:
    """The running server. `requests` are the bodies received; `open_streams` counts the answers being sent."""

    url: str
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    open_streams: int = 0


@contextmanager
def openai_server(generator: Generator, faults: Sequence[Fault] = ()) -> Iterator[OpenAIServer]:
    """Serve until the block ends."""
    listener = socket.create_server(("127.0.0.1", 0))
    state = OpenAIServer(url=f"http://127.0.0.1:{listener.getsockname()[1]}/v1")
    app = Starlette(routes=[Route("/v1/chat/completions", _endpoint(generator, list(faults), state), methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", ws="none", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.002)
        yield state
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def _endpoint(generator: Generator, faults: list[Fault], state: OpenAIServer) -> Any:
    async def complete(request: Request) -> Response:
        body = await request.json()
        state.requests.append(body)
        state.headers.append(dict(request.headers))
        fault = faults.pop(0) if faults else Fault()
        if fault.delay_seconds:
            await anyio.sleep(fault.delay_seconds)
        if fault.status is not None:
            error = fault.body or {"error": {"message": "fault on order", "code": "fault"}}
            return JSONResponse(error, fault.status, fault.headers)
        try:
            stream = generator.stream(_request(body))
        except NoriaError as error:
            return JSONResponse({"error": {"message": str(error), "code": type(error).__name__}}, 400)
        return StreamingResponse(_events(stream, bool(body.get("tools")), fault, state), media_type="text/event-stream")

    return complete


def _request(body: dict[str, Any]) -> GenerationRequest:
    schema = (body.get("response_format") or {}).get("json_schema", {}).get("schema")
    return GenerationRequest(
        messages=tuple(Message.from_openai(m) for m in body["messages"]),
        tools=tuple(ToolSpec.from_openai(t) for t in body.get("tools", ())),
        tool_choice=body.get("tool_choice", "auto"),
        response_schema=schema,
        max_tokens=body["max_tokens"],
        temperature=body["temperature"],
        top_p=body["top_p"],
        seed=body.get("seed"),
        stop=tuple(body.get("stop", ())),
    )


async def _events(stream: Iterator[Delta | Generation], tools: bool, fault: Fault, state: OpenAIServer) -> AsyncIterator[bytes]:
    state.open_streams += 1
    try:
        num_sent = 0
        held: list[str] | None = None  # what may be a call is held back: calls are not sent as text
        async for item in iterate_in_threadpool(stream):
            if fault.cut_after is not None and num_sent >= fault.cut_after:
                raise ConnectionAbortedError
            if isinstance(item, Delta):
                if held is None:
                    held = [] if tools and item.text.startswith("{") else None
                if held is None:
                    yield _event({"content": item.text})
                else:
                    held.append(item.text)
            else:
                for event in _last_events(item, "".join(held or ())):
                    yield event
            num_sent += 1
        yield b"data: [DONE]\n\n"
    finally:
        state.open_streams -= 1
        stream.close()  # type: ignore[attr-defined]


def _last_events(generation: Generation, held: str) -> Iterator[bytes]:
    calls = generation.message.tool_calls
    if not calls and held:
        yield _event({"content": held})
    for index, call in enumerate(calls):
        arguments = json.dumps(call.arguments)
        yield _event({"tool_calls": [{"index": index, "id": call.id, "function": {"name": call.name, "arguments": arguments[:5]}}]})
        yield _event({"tool_calls": [{"index": index, "function": {"arguments": arguments[5:]}}]})
    yield _event({}, generation.finish_reason)
    usage = {"prompt_tokens": generation.num_prompt_tokens, "completion_tokens": generation.num_completion_tokens}
    yield b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n"


def _event(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
    chunk = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}
    return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"
