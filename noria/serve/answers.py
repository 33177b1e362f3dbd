"""From a placed request to the events of its answer: by the agent, or by the model alone.

In: a turn that is recorded, and what may answer it. Out: `Text` and `StepNote` as they come, then one `Finished`. The model alone is recorded
like an agent of one step, so that every answer has a receipt, can be judged and can be trained on. Closing the iterator cancels the work.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from noria.agent import StepEvent
from noria.model.tool_text import CALL_BEGINS
from noria.schema import Delta, Generation, GenerationRequest, Generator, Message, Step, Turn
from noria.serve.format import Usage, token_logprobs
from noria.serve.receipts import StepView, usage_of
from noria.serve.serving import Serving
from noria.serve.wire import ChatRequest
from noria.store import Traces

NUM_SEEDS = 2**31
"""Seeds of clients, which may be negative or 64 bits long, are taken modulo this."""
DEFAULT_MAX_TOKENS = 256
"""Room for an answer of the model alone when the request names none."""


@dataclass(frozen=True)
class Text:
    text: str


@dataclass(frozen=True)
class StepNote:
    """A finished step of the agent, as clients see it."""

    data: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The end of an answer."""

    message: Message
    finish_reason: str
    usage: Usage
    logprobs: list[dict[str, Any]] | None = None


Event = Text | StepNote | Finished


def model_request(request: ChatRequest, messages: Sequence[Message]) -> GenerationRequest:
    """What the model is asked when it answers alone; greedy unless the request says otherwise."""
    return GenerationRequest(
        messages=tuple(messages),
        tools=request.tools,
        tool_choice=request.tool_choice,
        response_schema=request.response_schema,
        max_tokens=request.max_tokens or DEFAULT_MAX_TOKENS,
        temperature=request.temperature if request.temperature is not None else 0.0,
        top_p=request.top_p if request.top_p is not None else 1.0,
        seed=request.seed % NUM_SEEDS if request.seed is not None else None,
        stop=request.stop,
    )


def model_events(traces: Traces, turn: Turn, generator: Generator, request: ChatRequest, messages: Sequence[Message]) -> Iterator[Event]:
    """The model alone answers; the turn and its one step end in every case, also when the consumer goes away."""
    asked = model_request(request, messages)
    inputs: dict[str, Any] = {"messages": traces.put_messages(messages), **asked.model_dump(exclude={"messages", "tools"})}
    if asked.tools:
        inputs["tools"] = traces.put_tools(asked.tools)
    step = traces.start_step(turn.id, "model", inputs)
    state = "cancelled"
    pieces: list[tuple[str, tuple[int, ...]]] = []
    stream: Iterator[Delta | Generation] | None = None
    try:
        stream = generator.stream(asked)
        generation: Generation | None = None
        for item in _held_back(stream, bool(asked.tools), pieces):
            if isinstance(item, Generation):
                generation = item
            else:
                yield item
        assert generation is not None, "a generator ends with its Generation"
        output = {
            "finish_reason": generation.finish_reason,
            "num_prompt_tokens": generation.num_prompt_tokens,
            "num_completion_tokens": generation.num_completion_tokens,
            "seconds": round(generation.seconds, 4),
        }
        traces.finish_step(step.id, "done", output, [generation.message], generation)
        traces.finish_turn(turn.id, "done", generation.message)
        state = "done"
        entries = token_logprobs(pieces, generation.token_ids, generation.logprobs) if request.logprobs else None
        usage = Usage(prompt_tokens=generation.num_prompt_tokens, completion_tokens=generation.num_completion_tokens)
        yield Finished(message=generation.message, finish_reason=generation.finish_reason, usage=usage, logprobs=entries)
    except GeneratorExit:
        raise
    except Exception:
        state = "failed" if state != "done" else state
        raise
    finally:
        close = getattr(stream, "close", None)
        if close is not None:
            close()
        if state != "done":
            traces.finish_step(step.id, "failed", {"error": state})
            traces.finish_turn(turn.id, "failed" if state == "failed" else "cancelled")


def _held_back(stream: Iterator[Delta | Generation], tools: bool, pieces: list[tuple[str, tuple[int, ...]]]) -> Iterator[Text | Generation]:
    """Texts as they come; with tools, nothing of what turns out to be a call."""
    held, decided = "", not tools
    for item in stream:
        if isinstance(item, Generation):
            if held and not item.message.tool_calls:
                yield Text(held)
            yield item
            continue
        pieces.append((item.text, item.token_ids))
        if decided:
            if item.text:
                yield Text(item.text)
            continue
        held += item.text
        start = held.lstrip()
        if start and not any(start.startswith(call) or call.startswith(start) for call in CALL_BEGINS):
            decided = True
            yield Text(held)
            held = ""


def agent_events(serving: Serving, turn: Turn, request: ChatRequest) -> Iterator[Event]:
    """The agent answers a turn that `Serving.begin` has recorded; it ends the turn in every case."""
    seed = request.seed % NUM_SEEDS if request.seed is not None else None
    sampling = {"temperature": request.temperature, "top_p": request.top_p, "seed": seed, "max_tokens": request.max_tokens}
    agent = serving.agent({name: value for name, value in sampling.items() if value is not None})
    view = StepView()
    steps: list[Step] = []
    pieces: list[tuple[str, tuple[int, ...]]] = []
    for event in agent.resume(turn):
        if isinstance(event, Delta):
            pieces.append((event.text, event.token_ids))
            if event.text:
                yield Text(event.text)
        elif isinstance(event, StepEvent):
            steps.append(event.step)
            yield StepNote(view.of(event.step))
        else:
            yield _agent_end(event.turn, steps, pieces if request.logprobs else None)


def _agent_end(turn: Turn, steps: Sequence[Step], pieces: Sequence[tuple[str, tuple[int, ...]]] | None) -> Finished:
    """The end of an agent's answer. Only a reply that the model wrote has log-probabilities; the agent's fixed replies have none."""
    assert turn.answer is not None, "a turn that is done has its answer"
    last = steps[-1] if steps and steps[-1].kind == "model" else None
    reason = (last.output or {}).get("finish_reason", "stop") if last is not None else "stop"
    entries = token_logprobs(pieces, last.token_ids, last.logprobs) if pieces is not None and last is not None else None
    return Finished(message=turn.answer, finish_reason=reason, usage=usage_of(steps), logprobs=entries)
