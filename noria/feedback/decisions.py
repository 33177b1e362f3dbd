"""From a piece of feedback to the decision it speaks of: what the model was shown, with which tools, and what it answered.

A decision of a turn is one model call (steps of kind `model`, counted from 0, retries included); where no steps were recorded, one assistant
message. Feedback without `step` speaks of the turn's answer.
"""

from dataclasses import dataclass
from datetime import datetime

from noria.schema import Conversation, Message, Step, ToolSpec, Turn
from noria.store import Entry, Traces


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One decision: `position` counts the conversation's messages before it; `served` is None if nothing was answered.

    `by_model` is False where the framework spoke (a question back, a refusal): nothing a model could learn from.
    """

    position: int
    prompt: tuple[Message, ...]
    tools: tuple[ToolSpec, ...]
    tools_hash: str
    served: Message | None
    by_model: bool
    time: datetime


class Dialogue:
    """A conversation read once, from which decisions are told; `tools` keeps what conversations share."""

    def __init__(self, traces: Traces, conversation: Conversation, tools: dict[str, tuple[ToolSpec, ...]] | None = None) -> None:
        self.conversation = conversation
        self.entries: list[Entry] = traces.transcript(conversation.id)
        self.turns: dict[str, Turn] = {turn.id: turn for turn in traces.turns(conversation.id)}
        self._traces = traces
        self._steps = traces.conversation_steps(conversation.id, "model")
        self._known = {entry.message.hash: entry.message for entry in self.entries}
        self._tools = tools if tools is not None else {}

    def decision(self, receipt: str, step: int | None) -> Decision:
        """The decision `step` of the turn, or its answer. One after the last is the decision that was not taken any more."""
        position, model_step = self._locate(receipt, step)
        tools_hash = model_step.inputs.get("tools") if model_step is not None else None
        return Decision(
            position=position,
            prompt=self._prompt(position, model_step),
            tools=self._tools_of(tools_hash) if isinstance(tools_hash, str) else (),
            tools_hash=tools_hash if isinstance(tools_hash, str) else "",
            served=self._served(position, receipt),
            by_model=self._by_model(position),
            time=self.turns[receipt].created_at,
        )

    def system_prompts(self) -> list[str]:
        """Texts of the system messages the model was shown."""
        self._load({address for step in self._steps for address in list(step.inputs.get("messages") or ())[:1]})
        return [m.content for m in self._known.values() if m.role == "system"]

    def _locate(self, receipt: str, step: int | None) -> tuple[int, Step | None]:
        """Position of the decision, and the model step it was made by or, for one not taken, would have continued."""
        mine = [entry for entry in self.entries if entry.turn_id == receipt]
        answers = [entry for entry in mine if entry.message.role == "assistant"]
        steps = [s for s in self._steps if s.turn_id == receipt]
        end = mine[-1].position + 1 if mine else 0
        if step is None or not steps:
            position = end if not answers or (step is not None and step >= len(answers)) else answers[-1 if step is None else step].position
            return position, next((s for s in reversed(steps) if s.position <= position), None)
        if step >= len(steps):
            return end, steps[-1]
        made_by = next((entry.position for entry in answers if entry.step_id == steps[step].id), steps[step].position)
        return made_by, steps[step]

    def _prompt(self, position: int, step: Step | None) -> tuple[Message, ...]:
        """What the model was shown. For a decision later than the step: that, and what the conversation has gained since."""
        history = tuple(entry.message for entry in self.entries[:position])
        shown = step.inputs.get("messages") if step is not None else None
        if step is None or not isinstance(shown, list):
            return history
        self._load(set(shown))
        return tuple(self._known[address] for address in shown) + history[step.position :]

    def _served(self, position: int, receipt: str) -> Message | None:
        entry = self.entries[position] if position < len(self.entries) else None
        return entry.message if entry is not None and entry.turn_id == receipt and entry.message.role == "assistant" else None

    def _by_model(self, position: int) -> bool:
        made_by = self.entries[position].step_id if position < len(self.entries) else None
        return made_by is None or any(step.id == made_by for step in self._steps)

    def _load(self, addresses: set[str]) -> None:
        missing = sorted(addresses - set(self._known))
        if missing:
            self._known.update(zip(missing, self._traces.messages(missing), strict=True))

    def _tools_of(self, address: str) -> tuple[ToolSpec, ...]:
        if address not in self._tools:
            self._tools[address] = tuple(self._traces.tools(address))
        return self._tools[address]


def same_message(left: Message, right: Message) -> bool:
    """Equal to a reader: the ids of calls do not count."""
    return content_of(left) == content_of(right)


def content_of(message: Message) -> tuple[object, ...]:
    return message.role, message.content.strip(), [(call.name, call.arguments) for call in message.tool_calls]
