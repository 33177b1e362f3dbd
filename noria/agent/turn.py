"""One turn of an agent: from the user's message to the answer, step by step, each written down before it acts.

What to do next follows from what is stored alone (the messages so far and the steps of the turn), so going on after a kill is the same code as
going on after the step before. A step's idempotency key is made from its turn and its number: the same step has the same key in every run.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from hashlib import sha256
from typing import Any

from noria.agent.context import fit
from noria.agent.deltas import ReplyGate
from noria.agent.events import Event, StepEvent, TurnEvent
from noria.agent.phrases import Language, describe_call, is_yes, language_of, phrase
from noria.agent.policy import Provenance
from noria.agent.setup import SEARCH, Setup
from noria.agent.tools import Tool, ToolContext, ToolResult
from noria.errors import NoriaError, StoreError, ToolRetry
from noria.model.tool_text import CALL_BEGINS
from noria.schema import Conversation, Delta, Generation, GenerationRequest, Message, Step, StepKind, ToolCall, Turn, canonical_json

RETRY_TEMPERATURE = 0.7
"""A broken decision is sampled anew at least this freely: greedy would break again."""


class TurnRun:
    """The work on one open turn."""

    def __init__(self, setup: Setup, conversation: Conversation, turn: Turn) -> None:
        self._setup = setup
        self._traces = setup.traces
        self._conversation = conversation
        self._turn = turn
        self._history: list[Message] = setup.traces.history(conversation.id)
        self._steps: list[Step] = setup.traces.steps(turn.id)
        self._started: Step | None = self._steps.pop() if self._steps and self._steps[-1].state == "started" else None
        self._begun_at = time.monotonic()

    def events(self) -> Iterator[Event]:
        """Work until the turn ends. Closing the iterator cancels the turn; an error of ours ends it as failed and is raised."""
        try:
            yield from self._until_answered()
        except GeneratorExit:
            self._end_unanswered("The user cancelled this.")
            self._traces.finish_turn(self._turn.id, "cancelled", None)
            raise
        except NoriaError as error:
            with suppress(StoreError):  # then the turn stays open and can be resumed
                self._end_unanswered("This failed and was not done.", error=str(error))
                self._traces.finish_turn(self._turn.id, "failed", None)
            raise
        turn = self._traces.finish_turn(self._turn.id, "done", self._history[-1])
        yield TurnEvent(turn=turn)

    def _until_answered(self) -> Iterator[Event]:
        if self._started is not None and self._started.kind == "tool":
            yield from self._take_up(self._started)
        while not self._answered():
            if calls := self._unanswered_calls():
                yield from self._act(calls[0])
            elif limit := self._limit_reached():
                yield from self._say("stuck" if limit == "retries" else "budget", {"decision": "stop", "reason": limit})
            elif call := self._confirmed_call():
                message = Message(role="assistant", tool_calls=(call.model_copy(update={"id": self._call_id(0)}),))
                yield from self._record("flow", {"confirmed": call.model_dump()}, {"move": "confirm"}, [message])
            else:
                yield from self._decide()

    # What is stored says where we are.

    def _answered(self) -> bool:
        last = self._history[-1]
        return last.role == "assistant" and not last.tool_calls

    def _unanswered_calls(self) -> list[ToolCall]:
        done: set[str | None] = set()
        for message in reversed(self._history):
            if message.role == "tool":
                done.add(message.tool_call_id)
            else:
                return [call for call in message.tool_calls if call.id not in done]
        return []

    def _limit_reached(self) -> str | None:
        config = self._setup.config
        if self._num_retries() > config.max_retries:
            return "retries"
        if sum(step.kind == "model" for step in self._steps) >= config.max_steps:
            return "max_steps"
        if self._tokens_left() < 1:
            return "max_turn_tokens"
        return "max_seconds" if time.monotonic() - self._begun_at > config.max_seconds else None

    def _num_retries(self) -> int:
        return sum(bool(step.output and (step.output.get("decision") == "retry" or step.output.get("state") == "retry")) for step in self._steps)

    def _tokens_left(self) -> int:
        return self._setup.config.max_turn_tokens - sum((step.output or {}).get("num_completion_tokens", 0) for step in self._steps)

    def _confirmed_call(self) -> ToolCall | None:
        """The call the agent asked about in the turn before, when the user's message is the yes to it."""
        if self._steps or self._history[-1].role != "user" or not is_yes(self._history[-1].content):
            return None
        return self._asked_call()

    def _asked_call(self) -> ToolCall | None:
        """The call the agent asked about in the turn before, unless this turn has already run a tool on the answer."""
        return None if any(step.kind == "tool" for step in self._steps) else self._asked_before

    @cached_property
    def _asked_before(self) -> ToolCall | None:
        """The call that the turn before ended with asking about; read from the store once."""
        if not self._turn.index:
            return None
        before = next(turn for turn in self._traces.turns(self._conversation.id) if turn.index == self._turn.index - 1)
        asked = [s for s in self._traces.steps(before.id) if s.kind == "guard" and (s.output or {}).get("decision") == "ask"]
        return ToolCall.model_validate(asked[-1].inputs["call"]) if asked and before.state == "done" else None

    def _provenance(self) -> Provenance:
        """The user's last message and what the agent had said before it."""
        index = max(i for i, message in enumerate(self._history) if message.role == "user")
        said = [m.content for m in self._history[:index] if m.role == "assistant" and not m.tool_calls]
        return Provenance(user_text=self._history[index].content, assistant_text=said[-1] if said else "", asked=self._asked_call())

    @property
    def _language(self) -> Language:
        users = [message.content for message in self._history if message.role == "user"]
        return language_of(users[-1] if users else "", self._setup.language)

    # Steps: committed before they act, ended together with their messages.

    @property
    def _key(self) -> str:
        return sha256(f"{self._turn.id}:{len(self._steps)}".encode()).hexdigest()

    def _call_id(self, number: int) -> str:
        return f"call_{self._key[:16]}_{number}"

    def _start(self, kind: StepKind, inputs: Mapping[str, Any]) -> Step:
        step = self._traces.start_step(self._turn.id, kind, inputs, self._key)
        self._started = step
        return step

    def _finish(
        self, step: Step, output: Mapping[str, Any], messages: Sequence[Message] = (), generation: Generation | None = None, ok: bool = True
    ) -> StepEvent:
        ended = self._traces.finish_step(step.id, "done" if ok else "failed", output, messages, generation)
        self._history.extend(messages)
        self._steps.append(ended)
        self._started = None
        return StepEvent(step=ended)

    def _record(self, kind: StepKind, inputs: Mapping[str, Any], output: Mapping[str, Any], messages: Sequence[Message]) -> Iterator[Event]:
        """A step that has no effect but its messages."""
        yield self._finish(self._start(kind, inputs), output, messages)

    def _say(self, name: str, output: Mapping[str, Any], inputs: Mapping[str, Any] | None = None, **values: str) -> Iterator[Event]:
        """A fixed reply as a guard step; it ends the turn."""
        text = phrase(name, self._language, **values)
        event = self._finish(self._start("guard", inputs or {}), output, [Message(role="assistant", content=text)])
        yield Delta(text=text)
        yield event

    # The model decides.

    def _decide(self) -> Iterator[Event]:
        request, inputs = self._request()
        step = self._start("model", inputs)
        gate = ReplyGate(bool(request.tools))
        stream = self._setup.generator.stream(request)
        generation: Generation | None = None
        try:
            for piece in stream:
                if isinstance(piece, Generation):
                    generation = piece
                else:
                    yield from gate.feed(piece)
        finally:
            if (close := getattr(stream, "close", None)) is not None:
                close()
        assert generation is not None, "a generator ends with a Generation"
        message = self._numbered(generation.message)
        output: dict[str, Any] = {"finish_reason": generation.finish_reason, "num_prompt_tokens": generation.num_prompt_tokens}
        output |= {"num_completion_tokens": generation.num_completion_tokens, "seconds": round(generation.seconds, 4)}
        if not message.tool_calls:
            broken = not message.content.strip() or (bool(request.tools) and message.content.lstrip().startswith(CALL_BEGINS))
            if broken:  # an empty reply, or a call that is none: not part of the conversation, and sampled anew
                yield self._finish(step, output | {"decision": "retry", "text": generation.text}, generation=generation, ok=False)
                return
            yield from gate.rest()
            if not gate.shown:
                yield Delta(text=message.content)
        yield self._finish(step, output, [message], generation)

    def _request(self) -> tuple[GenerationRequest, dict[str, Any]]:
        setup, config = self._setup, self._setup.config
        max_tokens = min(config.max_tokens, self._tokens_left())
        system = setup.system_message(self._conversation.today)
        generator = setup.generator
        messages, ledger = fit(system, self._history, setup.specs, generator.count_tokens, generator.context_tokens, max_tokens)
        broken = bool(self._steps and self._steps[-1].kind == "model" and self._steps[-1].state == "failed")
        sampling: dict[str, Any] = {
            "max_tokens": max_tokens,
            "temperature": max(config.temperature, RETRY_TEMPERATURE) if broken else config.temperature,
            "top_p": config.top_p,
            "seed": config.seed + len(self._steps),
        }
        setup.store(messages if ledger.num_shortened else messages[:1])  # the others are part of the conversation already
        inputs = {"messages": [message.hash for message in messages], "tools": setup.tools_address, "context": ledger.model_dump(), **sampling}
        return GenerationRequest(messages=messages, tools=setup.specs, **sampling), inputs

    def _numbered(self, message: Message) -> Message:
        """Calls under ids that follow from turn and step, whatever the engine called them."""
        calls = tuple(call.model_copy(update={"id": self._call_id(i)}) for i, call in enumerate(message.tool_calls))
        return message.model_copy(update={"tool_calls": calls, "role": "assistant"})

    # The decision is checked, then done.

    def _act(self, call: ToolCall) -> Iterator[Event]:
        if call.name == SEARCH.name and self._setup.retriever is not None:
            yield from self._search(call)
            return
        tool = self._setup.toolbox.get(call.name)
        try:
            self._setup.toolbox.check(call.name, call.arguments)
            self._refuse_repetition(call)
        except ToolRetry as retry:
            yield from self._refuse(call, "retry", str(retry))
            return
        assert tool is not None, "check has found it"
        verdict = self._setup.policy.check(call, tool, self._provenance())
        if verdict == "deny":
            yield from self._refuse(call, "deny", f"`{call.name}` is not allowed here.")
        elif verdict == "ask":
            yield from self._ask(call, tool)
        else:
            step = self._start("tool", {"call": call.model_dump()})
            yield from self._run_tool(step, call)

    def _refuse(self, call: ToolCall, decision: str, text: str) -> Iterator[Event]:
        yield from self._record("guard", {"call": call.model_dump()}, {"decision": decision, "reason": text}, [_result(call, text)])

    def _refuse_repetition(self, call: ToolCall) -> None:
        """The same call again in one turn, with nothing changed in between, is a loop. Raises ToolRetry."""
        for step in reversed(self._steps):
            if step.kind not in ("tool", "retrieval"):
                continue
            made = ToolCall.model_validate(step.inputs["call"])
            same = made.name == call.name and canonical_json(made.arguments) == canonical_json(call.arguments)
            if same:
                raise ToolRetry(f"`{call.name}` was already called with exactly these arguments; use its result and answer the user.")
            changes = self._setup.toolbox.get(made.name)
            own = self._setup.toolbox.get(call.name)
            if changes and changes.options.effect != "reads" and own and own.options.effect == "reads":
                return  # the world changed since: reading it again is sensible

    def _ask(self, call: ToolCall, tool: Tool) -> Iterator[Event]:
        """The user's word is needed: the call waits and the turn ends with a question."""
        waits = [
            Message(role="tool", content="Not done yet: it waits for the user's yes.", tool_call_id=c.id, name=c.name)
            for c in self._unanswered_calls()
        ]
        text = phrase("ask", self._language, what=describe_call(tool.spec.description, call.arguments))
        step = self._start("guard", {"call": call.model_dump()})
        event = self._finish(step, {"decision": "ask"}, [*waits, Message(role="assistant", content=text)])
        yield Delta(text=text)
        yield event

    def _run_tool(self, step: Step, call: ToolCall) -> Iterator[Event]:
        ctx = ToolContext(
            state_dir=self._setup.state_dir,
            idempotency_key=step.idempotency_key,
            today=self._conversation.today,
            conversation_id=self._conversation.id,
            user_id=self._conversation.user_id,
            language=self._language,
        )
        yield from self._settle(step, call, self._setup.toolbox.call(call.name, call.arguments, ctx))

    def _settle(self, step: Step, call: ToolCall, result: ToolResult) -> Iterator[Event]:
        """The tool's result joins the conversation; when nobody knows whether it happened, the user is asked and the turn ends."""
        messages = [_result(call, result.content)]
        output = {"state": result.state, "content": result.content}
        if result.state != "unknown":
            yield self._finish(step, output, messages, ok=result.state == "done")
            return
        others = [c for c in self._unanswered_calls() if c.id != call.id]
        messages += [_result(c, "Not done.") for c in others]
        tool = self._setup.toolbox.get(call.name)
        what = describe_call(tool.spec.description if tool else call.name, call.arguments)
        text = phrase("unknown", self._language, what=what)
        event = self._finish(step, output, [*messages, Message(role="assistant", content=text)], ok=False)
        yield Delta(text=text)
        yield event

    def _take_up(self, step: Step) -> Iterator[Event]:
        """A tool step that a kill left open: run again under its key if that is safe, else say that the outcome is unknown."""
        call = ToolCall.model_validate(step.inputs["call"])
        tool = self._setup.toolbox.get(call.name)
        if tool is not None and tool.repeatable:
            yield from self._run_tool(step, call)
        else:
            result = ToolResult(
                state="unknown", content=f"`{call.name}` was interrupted; whether it happened is unknown. Do not call it again unasked."
            )
            yield from self._settle(step, call, result)

    def _search(self, call: ToolCall) -> Iterator[Event]:
        """The built-in knowledge search; its passages are kept with the step, so that sources can be shown."""
        assert self._setup.retriever is not None
        query = call.arguments.get("query")
        if not isinstance(query, str) or set(call.arguments) != {"query"}:
            yield from self._refuse(call, "retry", f"`{SEARCH.name}` takes one argument, `query`, a text.")
            return
        try:
            self._refuse_repetition(call)
        except ToolRetry as retry:
            yield from self._refuse(call, "retry", str(retry))
            return
        step = self._start("retrieval", {"call": call.model_dump()})
        passages = self._setup.retriever.search(query, self._setup.config.num_passages)
        output = {"state": "done", "passages": [p.model_dump() for p in passages]}
        yield self._finish(step, output, [_result(call, self._setup.render_passages(passages))])

    def _end_unanswered(self, text: str, error: str | None = None) -> None:
        """Before a turn ends without an answer: its open step ends, and no call stays without a result."""
        messages = [_result(c, text) for c in self._unanswered_calls()]
        output = {"decision": "stop", "reason": error or text}
        if self._started is not None:
            self._finish(self._started, output, messages, ok=False)
        elif messages:
            self._finish(self._start("guard", {}), output, messages)


def _result(call: ToolCall, text: str) -> Message:
    """The message that answers a call."""
    return Message(role="tool", content=text, tool_call_id=call.id, name=call.name)
