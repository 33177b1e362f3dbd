"""`POST /v1/chat/completions`: admits a request, lets a thread work on it, and writes the answer as it comes.

In: a body that FastAPI has checked. Out: OpenAI's completion, or its chunks as server-sent events. The status is only sent once the first
piece of the answer is there, so that an error before it is a proper error. A client that goes away cancels the generation.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any, TypeVar, cast

from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from noria.errors import NoriaError, ServeError
from noria.schema import Turn, TurnState
from noria.serve import problems
from noria.serve.answers import Event, Finished, StepNote, Text, agent_events, model_events
from noria.serve.busy import CLIENT_GONE
from noria.serve.format import PING, Chunks, Heading, completion, error_event
from noria.serve.metrics import Metrics
from noria.serve.placing import RAW, Placed, check_still_there, place
from noria.serve.pump import Pump
from noria.serve.resuming import finish_open_turns
from noria.serve.runtime import Runtime
from noria.serve.serving import Serving
from noria.serve.wire import ChatBody, ChatRequest, read_chat

CONVERSATION_HEADER = "x-noria-conversation"
PING_SECONDS = 15.0
STOPPING_SECONDS = 3.0
"""How long a request waits for the answer before it to end: who stops an answer and speaks on is heard before the model has stopped."""
_STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}

Item = Heading | Event
T = TypeVar("T")


class _ClientGone(Exception):
    """The client went away before anything was sent."""


class ChatEndpoint:
    """Answers chat requests, at most `max_concurrent` at a time, each in a thread of its own."""

    def __init__(self, runtime: Runtime, metrics: Metrics) -> None:
        self._runtime = runtime
        self._metrics = metrics
        self._max_concurrent = runtime.config.max_concurrent
        self._executor = ThreadPoolExecutor(self._max_concurrent, thread_name_prefix="chat")
        self._active = 0
        self._lock = threading.Lock()

    def close(self) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)

    async def __call__(self, request: Request, body: ChatBody) -> Response:
        chat = read_chat(body)
        named = request.headers.get(CONVERSATION_HEADER) or chat.conversation_id
        self._admit()
        pump: Pump[Item] = Pump(lambda given_up: self._answer(chat, named, given_up), self._executor, self._leave)
        items = _Items(pump, self._metrics)
        try:
            if not chat.stream:
                head, end = await _unless_gone(request, items.all())
                return JSONResponse(completion(head, end.message, end.finish_reason, end.usage, end.logprobs), headers=head.headers())
            head = await _unless_gone(request, items.first())
        except _ClientGone:
            pump.cancel()
            self._metrics.cancelled.inc()
            return Response(status_code=CLIENT_GONE)
        except BaseException as error:
            pump.cancel()
            if isinstance(error, asyncio.CancelledError):
                raise
            return self._refusal(request, error, items.head)
        return StreamingResponse(self._streamed(chat, head, items), headers={**head.headers(), **_STREAM_HEADERS}, media_type="text/event-stream")

    def _admit(self) -> None:
        with self._lock:
            if self._active >= self._max_concurrent:
                raise ServeError(f"{self._max_concurrent} chats are being answered; try again in a moment.", 429, "too_many_requests")
            self._active += 1
        self._metrics.active.inc()

    def _leave(self) -> None:
        with self._lock:
            self._active -= 1
        self._metrics.active.dec()

    def _answer(self, chat: ChatRequest, conversation_id: str | None, given_up: Callable[[], bool]) -> Iterator[Item]:
        """The work of one request, in its thread: a heading, then the events of the answer."""
        runtime = self._runtime
        placed = place(runtime, chat, conversation_id)
        with ExitStack() as held:
            held.enter_context(runtime.alone(placed.conversation.id, STOPPING_SECONDS, given_up))
            check_still_there(runtime, placed)
            serving = held.enter_context(runtime.engines.lease(placed.release))
            finish_open_turns(runtime, placed.conversation, serving)
            history = runtime.traces.history(placed.conversation.id) if placed.mode == RAW else []
            turn = self._begin(placed, serving)
            try:
                yield _heading(chat, placed, turn)
            except GeneratorExit:
                self._end(turn, "cancelled")
                raise
            if placed.mode == RAW:
                yield from model_events(runtime.traces, turn, serving.generator, chat, (*history, *placed.new))
            else:
                yield from agent_events(serving, turn, chat)

    def _begin(self, placed: Placed, serving: Serving) -> Turn:
        if placed.mode == RAW:
            return self._runtime.traces.start_turn(placed.conversation.id, placed.new)
        return serving.begin(placed.conversation, placed.new)

    def _end(self, turn: Turn, state: TurnState) -> None:
        with suppress(NoriaError):  # the turn has ended already, or the disk refuses: the client is gone either way
            self._runtime.traces.finish_turn(turn.id, state)

    async def _streamed(self, chat: ChatRequest, head: Heading, items: "_Items") -> AsyncIterator[bytes]:
        chunks = Chunks(head, chat.include_usage)
        try:
            yield chunks.first()
            async for batch in items.batches():
                yield b"".join(_encoded(chunks, item) for item in batch) or PING
        except (asyncio.CancelledError, GeneratorExit):
            self._metrics.cancelled.inc()
            raise
        except Exception as error:  # noqa: BLE001 - told to the client, and logged there
            status, body = problems.describe(error)
            self._metrics.errors.labels(body["error"]["code"] or str(status)).inc()
            yield error_event(body)

    def _refusal(self, request: Request, error: BaseException, head: Heading | None) -> Response:
        response = problems.respond(error, head.headers() if head is not None else None)
        request.state.error_code = problems.describe(error)[1]["error"]["code"]
        return response


class _Items:
    """The items of one answer, with the first ones looked at ahead and the counters kept."""

    def __init__(self, pump: Pump[Item], metrics: Metrics) -> None:
        self._batches = pump.batches(PING_SECONDS)
        self._metrics = metrics
        self._started = time.monotonic()
        self._waiting_for_text = True
        self._ahead: list[Item] = []
        self.head: Heading | None = None

    async def first(self) -> Heading:
        """The heading, once something of the answer is there too. Raises what the answer raised before that."""
        async for batch in self._batches:
            self._ahead += batch
            if self.head is None and self._ahead:
                self.head = cast(Heading, self._ahead.pop(0))
            if self._ahead:
                break
        assert self.head is not None, "an answer begins with its heading"
        return self.head

    async def batches(self) -> AsyncIterator[list[Event]]:
        """What came since, in order; an empty list when nothing came for long."""
        ahead, self._ahead = self._ahead, []
        if ahead:
            yield self._counted(ahead)
        async for batch in self._batches:
            yield self._counted(batch)

    async def all(self) -> tuple[Heading, Finished]:
        """The heading and the end of the answer."""
        head = await self.first()
        end: Finished | None = None
        async for batch in self.batches():
            for item in batch:
                end = item if isinstance(item, Finished) else end
        assert end is not None, "an answer that raised nothing has an end"
        return head, end

    def _counted(self, batch: list[Item]) -> list[Event]:
        for item in batch:
            if self._waiting_for_text and isinstance(item, Text | Finished):
                self._waiting_for_text = False
                self._metrics.first_token.observe(time.monotonic() - self._started)
            if isinstance(item, Finished):
                self._metrics.tokens.labels("prompt").inc(item.usage.prompt_tokens)
                self._metrics.tokens.labels("completion").inc(item.usage.completion_tokens)
        return cast(list[Event], batch)


def _encoded(chunks: Chunks, item: Event) -> bytes:
    if isinstance(item, Text):
        return chunks.text(item.text)
    if isinstance(item, StepNote):
        return chunks.note(item.data)
    return b"".join(chunks.tool_calls(item.message.tool_calls)) + chunks.last(item.finish_reason, item.usage, item.logprobs)


def _heading(chat: ChatRequest, placed: Placed, turn: Turn) -> Heading:
    release = f"r{placed.release.number}"
    return Heading(receipt=turn.id, model=chat.model, created=int(time.time()), conversation_id=placed.conversation.id, release=release)


async def _unless_gone(request: Request, reading: Coroutine[Any, Any, T]) -> T:
    """What `reading` gives or raises; `_ClientGone` where the client has gone away before."""
    read, gone = asyncio.create_task(reading), asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait((read, gone), return_when=asyncio.FIRST_COMPLETED)
        if not read.done():
            raise _ClientGone
        return read.result()
    finally:
        gone.cancel()
        read.cancel()


async def _disconnected(request: Request) -> None:
    """Returns when the client has gone away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
