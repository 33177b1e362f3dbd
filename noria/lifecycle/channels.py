"""Ways for guests to talk to a release: an agent in this process, a colleague in the agent's place, or a server over HTTP.

In: a loaded release (`AgentChannel`, `ColleagueGenerator`) or a server's address (`HttpChannel`). Out: `Channel`s for `episodes`. Every guest
meets a world of its own: the folder its episode names.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx

from noria.agent import Agent
from noria.errors import AgentError, ServeError
from noria.lifecycle.episodes import Reply
from noria.schema import Conversation, Delta, Episode, Generation, GenerationRequest, Generator, Message, ToolSpec, Turn
from noria.serve.chat import CONVERSATION_HEADER
from noria.serve.serving import Serving

GOAL = "goal"
"""Metadata of a guest's conversation: the id of its goal, which names its world."""


@dataclass(frozen=True)
class _Dialogue:
    conversation: Conversation
    agent: Agent


class AgentChannel:
    """Guests talk to the agent of a loaded release in this process; conversations are kept where the release's traces are."""

    def __init__(self, serving: Serving, generator_for: Callable[[Episode], Generator] | None = None) -> None:
        """`generator_for` puts something else in the model's place, such as a colleague."""
        self._serving = serving
        self._generator_for = generator_for

    def begin(self, episode: Episode) -> _Dialogue:
        serving = self._serving
        conversation = serving.traces.start_conversation(serving.release.id, episode.user_id, episode.today, {GOAL: episode.goal.id})
        generator = self._generator_for(episode) if self._generator_for else serving.generator
        return _Dialogue(conversation, _plain(serving, state_dir=episode.state_dir, generator=generator).agent())

    def say(self, conversation: _Dialogue, text: str) -> Reply:
        traces, dialogue = self._serving.traces, conversation
        started = time.monotonic()
        turn: Turn | None = None
        for event in dialogue.agent.respond(dialogue.conversation.id, [Message(role="user", content=text)]):
            turn = getattr(event, "turn", turn)
        if turn is None or turn.state != "done":
            raise AgentError(f"The turn of {text!r:.60} ended without an answer.")
        entries = [e for e in traces.transcript(dialogue.conversation.id) if e.turn_id == turn.id and e.step_id is not None]
        steps = [step for step in traces.steps(turn.id) if step.kind == "model"]
        number = {step.id: index for index, step in enumerate(steps)}
        return Reply(
            receipt=turn.id,
            messages=tuple(entry.message for entry in entries),
            decisions=tuple(number.get(entry.step_id or "") if entry.message.role == "assistant" else None for entry in entries),
            num_tokens=sum((step.output or {}).get("num_completion_tokens", 0) for step in steps),
            seconds=time.monotonic() - started,
        )


class ColleagueGenerator:
    """A skilled colleague in the model's place: each decision is what the episode's expert would do."""

    name = "colleague"
    context_tokens = 1_000_000

    def __init__(self, episode: Episode) -> None:
        self._episode = episode

    def count_tokens(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> int:
        return sum(len(m.content) for m in messages) + len(tools)

    def generate(self, request: GenerationRequest) -> Generation:
        message = self._episode.demonstrate([m for m in request.messages if m.role != "system"])
        return Generation(
            message=message,
            text=message.content,
            finish_reason="tool_calls" if message.tool_calls else "stop",
            num_prompt_tokens=0,
            num_completion_tokens=0,
            first_token_seconds=0.0,
            seconds=0.0,
        )

    def stream(self, request: GenerationRequest) -> Iterator[Delta | Generation]:
        generation = self.generate(request)
        if generation.text:
            yield Delta(text=generation.text)
        yield generation

    def close(self) -> None:
        pass


@dataclass(kw_only=True)
class WorldServing(Serving):
    """A release whose guests each meet their own world: `worlds` finds the folder by the goal their conversation names."""

    worlds: Mapping[str, Path]

    @classmethod
    def of(cls, serving: Serving, worlds: Mapping[str, Path]) -> Self:
        return cls(**_fields(serving), worlds=worlds)

    def agent(self, sampling: dict[str, Any] | None = None) -> Any:
        return _WorldAgent(self, sampling)


class _WorldAgent:
    """The part of an agent that a server uses, made anew for the world of each conversation."""

    def __init__(self, serving: WorldServing, sampling: dict[str, Any] | None) -> None:
        self._serving = serving
        self._sampling = sampling

    def respond(self, conversation_id: str, messages: Sequence[Message]) -> Iterator[Any]:
        return self._agent(conversation_id).respond(conversation_id, messages)

    def resume(self, turn: Turn) -> Iterator[Any]:
        return self._agent(turn.conversation_id).resume(turn)

    def _agent(self, conversation_id: str) -> Agent:
        conversation = self._serving.traces.conversation(conversation_id)
        goal = conversation.metadata.get(GOAL) if conversation else None
        state_dir = self._serving.worlds.get(goal or "", self._serving.state_dir)
        return _plain(self._serving, state_dir=state_dir).agent(self._sampling)


def _fields(serving: Serving) -> dict[str, Any]:
    return {name: getattr(serving, name) for name in Serving.__dataclass_fields__}


def _plain(serving: Serving, **changes: Any) -> Serving:
    """A `Serving` of the same release with some parts changed, whose agent works in the one folder it names."""
    return Serving(**{**_fields(serving), **changes})


class HttpChannel:
    """Guests talk to a server as any client does: chat completions, then the receipt for what happened in between."""

    def __init__(self, url: str, model: str, worlds: dict[str, Path], timeout_seconds: float = 300.0) -> None:
        """`worlds` is told the folder of each guest's world (the server of `WorldServing` reads it)."""
        self._client = httpx.Client(base_url=url, timeout=timeout_seconds, limits=httpx.Limits(max_connections=64))
        self._model = model
        self._worlds = worlds

    def begin(self, episode: Episode) -> dict[str, Any]:
        self._worlds[episode.goal.id] = episode.state_dir
        metadata = {GOAL: episode.goal.id, "today": episode.today.isoformat()}
        return {"request": {"model": self._model, "user": episode.user_id, "metadata": metadata}}

    def say(self, conversation: dict[str, Any], text: str) -> Reply:
        started = time.monotonic()
        headers = {CONVERSATION_HEADER: conversation["id"]} if "id" in conversation else {}
        body = {**conversation["request"], "messages": [{"role": "user", "content": text}]}
        answer = self._ask("POST", "/v1/chat/completions", body, headers)
        receipt = self._ask("GET", f"/v1/receipts/{answer['id']}")
        conversation["id"] = receipt["conversation"]["id"]
        messages = [Message.from_openai(m) for m in receipt["messages"] if m["role"] != "user"]
        return Reply(
            receipt=answer["id"],
            messages=tuple(messages),
            decisions=_decisions(messages, receipt["steps"]),
            num_tokens=(answer.get("usage") or {}).get("completion_tokens", 0),
            seconds=time.monotonic() - started,
        )

    def add(self, receipt: str, kind: str, value: Any, source: str, role: str, step: int | None = None) -> object:
        """Send feedback (a `FeedbackSink`)."""
        body = {"receipt": receipt, "kind": kind, "value": value, "source": source, "role": role, "step": step}
        return self._ask("POST", "/v1/feedback", {k: v for k, v in body.items() if v is not None})

    def close(self) -> None:
        self._client.close()

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        try:
            response = self._client.request(method, path, json=body, headers=dict(headers or {}))
        except httpx.HTTPError as error:
            raise ServeError(f"The server at {self._client.base_url} does not answer {path}: {error}.", 503) from error
        if response.is_success:
            return response.json()
        said = _error_text(response)
        if response.status_code in (400, 422, 500):
            raise AgentError(said)
        raise ServeError(f"{path}: {said}", response.status_code)


def _decisions(messages: Sequence[Message], steps: Sequence[Mapping[str, Any]]) -> tuple[int | None, ...]:
    """The model's decision that each message is, from the steps of a receipt: a finished model step says one thing, as do some others."""
    spoken: list[int | None] = []
    for step in steps:
        if step["kind"] == "model" and step["state"] == "done":
            spoken.append(step["decision"])
        elif step["kind"] == "flow" or step.get("verdict") in ("ask", "stop"):
            spoken.append(None)
    said = iter(spoken)
    return tuple(next(said, None) if message.role == "assistant" else None for message in messages)


def _error_text(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"status {response.status_code}: {response.text[:200]}"
