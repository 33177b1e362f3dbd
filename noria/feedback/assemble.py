"""One conversation's feedback to training examples: demonstrations to dialogues, ratings to thumbs, pairs to preferences.

Demonstrations of one conversation become one dialogue, in which the demonstrated messages are marked to be trained on, as far as the dialogue stays
true: a message that was served as demonstrated only gets its mark, a corrected reply takes the served one's place, and a corrected tool call, whose
results did not happen, ends a dialogue of its own.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from noria.data import ChatExample, Example, PreferenceExample, ThumbsExample
from noria.errors import DataError
from noria.feedback.config import FeedbackConfig
from noria.feedback.decisions import Decision, Dialogue, same_message
from noria.feedback.redact import Redaction
from noria.feedback.select import as_thumb, majority
from noria.schema import Feedback, Message

FILES = ("chat", "thumbs", "preference")


@dataclass(frozen=True, kw_only=True)
class Row:
    """An example of a task file with what the split needs to know; `text` is what near-duplicates are told by."""

    task: str
    example: Example
    conversation_id: str
    user_id: str
    time: datetime
    text: str


@dataclass
class Assembly:
    """Turns the selected feedback of a conversation into rows."""

    dialogue: Dialogue
    redaction: Redaction
    config: FeedbackConfig
    dropped: Counter[str]
    rows: list[Row] = field(default_factory=list[Row])

    def add(self, pieces: Sequence[Feedback]) -> None:
        """Take all feedback of the conversation at once."""
        self.redaction.messages([entry.message for entry in self.dialogue.entries])
        demonstrations: dict[int, tuple[Decision, Message, Feedback]] = {}
        votes: dict[tuple[str, int], list[tuple[bool, Decision]]] = defaultdict(list)
        for piece in pieces:
            decision = self.dialogue.decision(piece.receipt, piece.step)
            if not decision.by_model:
                self.dropped[f"{piece.kind}: the answer was not the model's"] += 1
            elif piece.kind == "demonstration":
                if decision.position in demonstrations:
                    self.dropped["demonstration: a later one replaces it"] += 1
                demonstrations[decision.position] = decision, Message.from_openai(piece.value), piece
            elif piece.kind == "preference":
                chosen, rejected = (Message.from_openai(piece.value[side]) for side in ("chosen", "rejected"))
                self._add_preference(decision, chosen, rejected)
            elif decision.served is None:
                self.dropped[f"{piece.kind}: the turn has no answer"] += 1
            else:
                votes[piece.receipt, decision.position].append((bool(as_thumb(piece, self.config)), decision))
        self._add_thumbs(votes)
        self._add_demonstrations([(decision, message) for decision, message, _ in demonstrations.values()])

    def _add_thumbs(self, votes: dict[tuple[str, int], list[tuple[bool, Decision]]]) -> None:
        for cast in votes.values():
            label = majority([vote for vote, _ in cast])
            decision = cast[0][1]
            if label is None:
                self.dropped["thumb: as many for as against"] += len(cast)
            elif decision.served is not None:
                completion = self.redaction.message(decision.served)
                self._add("thumbs", decision, [completion], lambda d, c=completion, v=label: ThumbsExample(completion=(c,), label=v, **_shown(d)))

    def _add_preference(self, decision: Decision, chosen: Message, rejected: Message) -> None:
        pair = self.redaction.messages([chosen, rejected])
        if same_message(*pair):
            self.dropped["preference: both sides are the same once redacted"] += 1
            return
        self._add("preference", decision, pair, lambda d: PreferenceExample(chosen=pair[:1], rejected=pair[1:], **_shown(d)))

    def _add_demonstrations(self, demonstrations: list[tuple[Decision, Message]]) -> None:
        for decision, message in demonstrations:
            differs = decision.served is not None and not same_message(decision.served, message)
            if self.config.corrections_as_preferences and differs and decision.served is not None:
                self._add_preference(decision, message, decision.served)
        by_tools: dict[str, list[tuple[Decision, Message]]] = defaultdict(list)
        for pair in sorted(demonstrations, key=lambda pair: pair[0].position):
            by_tools[pair[0].tools_hash].append(pair)
        for pairs in by_tools.values():
            self._add_dialogues(pairs)

    def _add_dialogues(self, pairs: list[tuple[Decision, Message]]) -> None:
        """One dialogue up to the last demonstration, and one for each earlier demonstration that does not fit into it."""
        last, final = pairs[-1]
        shown = list(last.prompt)
        trained: set[int] = set()
        first_aligned = last.position - self._num_aligned(last)
        for decision, message in pairs[:-1]:
            fits = decision.position >= first_aligned and decision.served is not None and self._fits(decision.served, message)
            if not fits:
                self._add_chat(decision, [*decision.prompt, message], {len(decision.prompt)})
                continue
            index = len(shown) - (last.position - decision.position)
            if decision.served is not None and not same_message(decision.served, message):
                shown[index] = message
            trained.add(index)
        self._add_chat(last, [*shown, final], trained | {len(shown)})

    def _fits(self, served: Message, message: Message) -> bool:
        replies = not served.tool_calls and not message.tool_calls
        return same_message(served, message) or (replies and self.config.merge_replies)

    def _num_aligned(self, last: Decision) -> int:
        """How many messages at the end of the prompt are the conversation's own, one to one (a system prompt before them is not)."""
        count = 0
        while count < min(last.position, len(last.prompt)):
            if last.prompt[-1 - count].hash != self.dialogue.entries[last.position - 1 - count].message.hash:
                break
            count += 1
        return count

    def _add_chat(self, decision: Decision, messages: Sequence[Message], trained: set[int]) -> None:
        redacted = self.redaction.messages(messages)
        marks = tuple(index in trained for index in range(len(redacted)))
        targets = [m for m, mark in zip(redacted, marks, strict=True) if mark]
        self._add("chat", decision, targets, lambda d: ChatExample(messages=redacted, train=marks, tools=d.tools, metadata=_metadata(d)))

    def _add(self, task: str, decision: Decision, targets: Sequence[Message], make: Callable[[Decision], Example]) -> None:
        """Append a row; one that breaks the task file's rules (a call of a tool that was not offered) is dropped."""
        redacted = replace(decision, prompt=self.redaction.messages(decision.prompt))
        conversation = self.dialogue.conversation
        try:
            for tool in decision.tools:
                tool.check_name()
        except DataError:  # recorded before names were checked; the task file would be refused
            self.dropped[f"{task}: a tool whose name no call could carry"] += 1
            return
        try:
            example = make(redacted)
        except ValueError as error:
            self.dropped[f"{task}: {_reason(error)}"] += 1
            return
        example = example.model_copy(update={"metadata": {"conversation": conversation.id, **example.metadata}})
        asked = [m.content for m in redacted.prompt if m.role == "user"]
        said = [m.content + "".join(f"{c.name} {c.arguments}" for c in m.tool_calls) for m in targets]
        self.rows.append(
            Row(
                task=task,
                example=example,
                conversation_id=conversation.id,
                user_id=conversation.user_id,
                time=decision.time,
                text="\n".join([*asked, *said]),
            )
        )


def _shown(decision: Decision) -> dict[str, Any]:
    return {"prompt": decision.prompt, "tools": decision.tools, "metadata": _metadata(decision)}


def _metadata(decision: Decision) -> dict[str, Any]:
    return {"position": decision.position, "time": decision.time.isoformat()}


def _reason(error: ValueError) -> str:
    """The first fault of a row, without the values that would make each row a reason of its own."""
    if "row's tools are" in str(error):
        return "a call of a tool that was not offered"
    return "it breaks the format of the task file"
