"""Where a request belongs: which release answers, in which conversation, and which of its messages are new.

In: a checked request and the conversation its client names, if any. Out: a `Placed`. A client that names its conversation need only send what
is new; one that sends the whole history, as OpenAI's clients do, is recognised by it; a history nobody knows begins a new conversation that
holds it. What a client claims was said is never written into a conversation that went otherwise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from noria.errors import ServeError
from noria.schema import Conversation, Message, Release
from noria.serve.runtime import Runtime
from noria.serve.wire import ChatRequest

AGENT = "agent"
RAW = "raw"


@dataclass(frozen=True, kw_only=True)
class Target:
    """What the `model` of a request names."""

    mode: str
    """agent, or raw: just the model."""
    release: Release | None
    """The release asked for by name; None leaves it to the conversation, or takes the live one."""


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A request with its place; `told` is the history that its client sent along, `new` what the turn begins with."""

    mode: str
    release: Release
    conversation: Conversation
    new: tuple[Message, ...]
    told: tuple[Message, ...] = ()


def target(runtime: Runtime, request: ChatRequest) -> Target:
    """Read `model`: NAME, NAME@RELEASE, with or without `:raw`. Raises ServeError (404)."""
    name, colon, suffix = request.model.partition(":")
    project, at, release = name.partition("@")
    if project != runtime.about.name or (colon and suffix != RAW) or (at and not release):
        known = runtime.about.name
        raise ServeError(
            f"The model {request.model!r:.80} does not exist; this server has {known!r}, '{known}@rN' (a release) and '{known}:raw' (no agent).",
            404,
            "model_not_found",
            "model",
        )
    mode = RAW if colon or request.own_model_call else AGENT
    return Target(mode=mode, release=runtime.release(release) if at else None)


def place(runtime: Runtime, request: ChatRequest, conversation_id: str | None) -> Placed:
    """Find or begin the conversation of a request. Raises ServeError."""
    wanted = target(runtime, request)
    if wanted.mode == AGENT:
        _check_agent_fields(request)
    if conversation_id is not None:
        return _named(runtime, request, wanted, conversation_id)
    return _recognised(runtime, request, wanted) or _begun(runtime, request, wanted)


def new_messages(messages: Sequence[Message]) -> int:
    """Index of the first message behind the assistant's last one: what is new if the rest is known."""
    return max((i + 1 for i, message in enumerate(messages) if message.role == "assistant"), default=0)


def visible(messages: Sequence[Message]) -> list[tuple[str, str]]:
    """What a client has seen of a conversation: what came in and the replies, without the agent's own tool calls and results."""
    return [(m.role, m.content) for m in messages if not m.tool_calls and m.role in ("user", "assistant")]


def _named(runtime: Runtime, request: ChatRequest, wanted: Target, conversation_id: str) -> Placed:
    conversation = runtime.traces.conversation(conversation_id)
    if conversation is None:
        raise ServeError(
            f"There is no conversation {conversation_id!r:.80}. Leave it out to begin one.", 404, "conversation_not_found", "conversation"
        )
    if conversation.metadata.get("mode", AGENT) != wanted.mode:
        mode = conversation.metadata.get("mode", AGENT)
        raise ServeError(
            f"Conversation {conversation_id!r:.80} is of the kind '{mode}'; begin another one for this request.", 409, "conversation_mismatch"
        )
    if wanted.release is not None and wanted.release.id != conversation.release_id:
        raise ServeError(
            "A conversation keeps the release it began with. Leave out '@release', or begin another one.", 409, "conversation_mismatch", "model"
        )
    first = new_messages(request.messages)
    if first and not _is_its_history(runtime, conversation_id, request.messages[:first]):
        raise ServeError(
            "`messages` tell another history than this conversation has. Send only what is new, or leave out the conversation to begin one.",
            409,
            "conversation_mismatch",
            "messages",
        )
    release = runtime.release(conversation.release_id)
    return Placed(mode=wanted.mode, release=release, conversation=conversation, new=request.messages[first:], told=request.messages[:first])


def check_still_there(runtime: Runtime, placed: Placed) -> None:
    """Raise ServeError (409) where the conversation has gone on since the request was placed, unlike its client tells."""
    if placed.told and not _is_its_history(runtime, placed.conversation.id, placed.told):
        raise ServeError("The conversation has gone on meanwhile. Send the request again.", 409, "conversation_mismatch", "messages")


def _is_its_history(runtime: Runtime, conversation_id: str, told: Sequence[Message]) -> bool:
    """Whether a conversation went as a client tells; turns that were stopped do not count."""
    return visible(told) == visible(runtime.traces.history(conversation_id)) or runtime.traces.holds(conversation_id, told)


def _recognised(runtime: Runtime, request: ChatRequest, wanted: Target) -> Placed | None:
    """The conversation whose history the client sent, if it is the same user's and of the same kind."""
    first = new_messages(request.messages)
    conversation = runtime.traces.find_by_history(request.messages[:first]) if first else None
    if conversation is None or conversation.user_id != request.user_id or conversation.metadata.get("mode", AGENT) != wanted.mode:
        return None
    if wanted.release is not None and wanted.release.id != conversation.release_id:
        return None
    release = runtime.release(conversation.release_id)
    return Placed(mode=wanted.mode, release=release, conversation=conversation, new=request.messages[first:], told=request.messages[:first])


def _begun(runtime: Runtime, request: ChatRequest, wanted: Target) -> Placed:
    release = wanted.release or runtime.current()
    metadata = {**request.metadata, "mode": wanted.mode, "channel": "http"}
    conversation = runtime.traces.start_conversation(release.id, request.user_id, _today(runtime, request.metadata), metadata)
    return Placed(mode=wanted.mode, release=release, conversation=conversation, new=request.messages)


def _today(runtime: Runtime, metadata: dict[str, str]) -> date:
    """The day of the user, from `metadata.today` (a simulated or remote user's), else this machine's."""
    given = metadata.get("today")
    if given is None:
        return runtime.clock.now().astimezone().date()
    try:
        return date.fromisoformat(given)
    except ValueError as error:
        raise ServeError(f"`metadata.today` is {given!r:.80}; allowed: a day such as 2026-03-04.", param="metadata.today") from error


def _check_agent_fields(request: ChatRequest) -> None:
    if request.messages[-1].role != "user":
        raise ServeError(f"The last of `messages` has role '{request.messages[-1].role}'; the agent answers a 'user'.", param="messages")
    if request.stop:
        raise ServeError(f"`stop` is for the model alone; send it to '{request.model}:raw', or leave it out.", param="stop")
