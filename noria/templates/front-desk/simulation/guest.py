"""How a guest reacts. In: the transcript so far. Out: what the guest says next, or None when leaving.

The guest hears only what is said, never sees tools or the database, and is a pure function of goal and transcript: replayed, it says the same.
Answers what is asked, repeats what was not understood, corrects a wrong read-back, and leaves when done or after a few useless answers.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from noria.schema import Goal, Message

from .speech import phrasings

MAX_USELESS = 2
MAX_TURNS = 8

_ASKS = {
    "date": r"\b(day|date|when)\b|哪天|哪一天|日期|几号|什么时候",
    "time": r"\b(time|when|hour|clock)\b|几点|时间|什么时候",
    "guests": r"\b(guests|people|persons|how many of you|party)\b|几位|几个人|多少人|人数",
    "nights": r"\b(nights|how long|days)\b|几晚|多少晚|住多久|几天",
    "room_kind": r"\b(kind|type|single|double|suite)\b|房型|哪种|什么房|单人|双人|套房",
    "room": r"\b(which room|room number|number|your room)\b|房间号|房号|哪个房间|哪间",
    "code": r"\b(code|reference|booking number|confirmation)\b|预订号|编号|号码",
    "place": r"\b(where|destination|place|airport|station|center)\b|去哪|哪里|哪儿|目的地",
    "item": r"\b(what|which item|bring)\b|什么",
    "problem": r"\b(problem|wrong|issue|matter)\b|问题|怎么了",
    "diet": r"\b(diet|vegan|vegetarian)\b|素",
}
_DONE = re.compile(
    r"\b(booked|reserved|moved|changed|rescheduled|cancel+ed|ordered|reported|arranged|confirmed|done|taken care of|on (the|its|their) way"
    r"|will (be|bring|send|come|arrive))\b|已|好了|安排|马上",
    re.IGNORECASE,
)
_CANONICAL = re.compile(r"\d{4}-\d\d-\d\d|\b\d\d:\d\d\b")


@dataclass(frozen=True)
class State:
    """Where the guest stands: `text` is what was said last, `told` the slots named since the beat began."""

    beat: int
    text: str | None
    told: frozenset[str]
    amended: bool = False
    useless: int = 0
    turns: int = 1


class Guest:
    def __init__(self, goal: Goal) -> None:
        self.beats = goal.spec["beats"]
        self._talk = phrasings(goal.language)["talk"]

    def next(self, transcript: Sequence[Message]) -> str | None:
        """What the guest says after the transcript."""
        state, reply = self._replay(transcript)
        return (self._enter(0, 1) if state is None else self._react(state, reply)).text

    def state(self, transcript: Sequence[Message]) -> State | None:
        """The state after the guest's last message; None before the first."""
        return self._replay(transcript)[0]

    def _replay(self, transcript: Sequence[Message]) -> tuple[State | None, str]:
        """The state after the last message of the user, and what the desk has said since."""
        state: State | None = None
        reply: list[str] = []
        for message in transcript:
            if message.role == "user":
                state = self._enter(0, 1) if state is None else self._react(state, " ".join(reply))
                reply = []
            elif message.role == "assistant" and message.content.strip():
                reply.append(message.content)
        return state, " ".join(reply)

    def _enter(self, beat: int, turns: int) -> State:
        if beat >= len(self.beats):
            return State(beat, None, frozenset(), turns=turns)
        told = self._slots(beat) - set(self.beats[beat].get("withheld", ()))
        return State(beat, self.beats[beat]["text"], frozenset(told), turns=turns)

    def _slots(self, beat: int) -> set[str]:
        return set(self.beats[beat].get("answers", ()))

    def _react(self, state: State, reply: str) -> State:
        if state.text is None or state.beat >= len(self.beats):
            return replace(state, text=None)
        if state.turns >= MAX_TURNS:
            return replace(state, text=None)
        state = replace(state, turns=state.turns + 1)
        beat = self.beats[state.beat]
        if beat["type"] == "talk" and reply.strip():
            return self._enter(state.beat + 1, state.turns)
        if beat["type"] == "lookup" and any(word.lower() in reply.lower() for word in beat["expect"]):
            return self._enter(state.beat + 1, state.turns)
        asking = "?" in reply or "？" in reply
        if not asking and beat["type"] == "request" and _DONE.search(reply):
            if self._wrong(state, reply):
                return self._useless(state, f"{self._talk['no']} {beat['again']}", told=self._slots(state.beat))
            return self._enter(state.beat + 1, state.turns)
        if asking:
            return self._answer(state, reply)
        return self._missing_or_again(state)

    def _answer(self, state: State, reply: str) -> State:
        beat = self.beats[state.beat]
        if beat["type"] == "talk":
            return self._useless(state, beat["text"])
        asked = [slot for slot in beat["answers"] if re.search(_ASKS[slot], reply, re.IGNORECASE)]
        unknown = [slot for slot in asked if slot not in state.told]
        if unknown:
            return self._tell(state, unknown)
        if _CANONICAL.search(reply) and not self._missing(state):  # a read-back
            if not self._wrong(state, reply):
                return self._useless(state, self._talk["yes"][0])
            return self._useless(state, f"{self._talk['no']} {beat['again']}")
        if asked:
            return self._useless(state, " ".join(beat["answers"][slot] for slot in asked))
        return self._missing_or_again(state)

    def _tell(self, state: State, slots: list[str]) -> State:
        """Name slots; someone who changes their mind adds it to the first answer."""
        beat = self.beats[state.beat]
        said = [beat["answers"][slot] for slot in slots]
        amended = state.amended
        if beat.get("amend") and not amended:
            said.append(beat["amend"])
            amended = True
        return replace(state, text=" ".join(said), told=state.told | set(slots), amended=amended)

    def _missing(self, state: State) -> list[str]:
        return [slot for slot in self.beats[state.beat].get("answers", ()) if slot not in state.told]

    def _missing_or_again(self, state: State) -> State:
        """After an answer that leads nowhere: name what was left out, else say it all once more."""
        if self.beats[state.beat]["type"] != "talk" and (missing := self._missing(state)):
            return self._useless(self._tell(state, missing), None)
        beat = self.beats[state.beat]
        return self._useless(state, f"{self._talk['again']} {beat.get('again', beat['text'])}", told=self._slots(state.beat))

    def _useless(self, state: State, text: str | None, told: set[str] | None = None) -> State:
        """Count an answer that did not help; the guest leaves after `MAX_USELESS` of them."""
        useless = state.useless + 1
        said = None if useless >= MAX_USELESS else text if text is not None else state.text
        amended = state.amended or told is not None  # saying it all again gives the final wish
        return replace(state, text=said, useless=useless, told=state.told | (told or set()), amended=amended)

    def _wrong(self, state: State, reply: str) -> bool:
        """Whether the reply names a date or time that is not what the guest wants."""
        values = set(self._values(state.beat))
        said = set(_CANONICAL.findall(reply))
        return bool(said - values) and bool(values)

    def _values(self, beat: int) -> Iterator[str]:
        for task in self.beats[beat].get("tasks", ()):
            yield from (str(value) for slot, value in task["arguments"].items() if slot in ("date", "time"))
