"""What a skilled colleague does next. In: goal and transcript. Out: one assistant message, a tool call or a short reply.

The colleague acts on what the guest has said so far and on tool results, nothing else: as soon as a call has all it needs it is made, what is
missing is asked for in the order of the tool's arguments, and a finished call is confirmed in one sentence.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any

from noria.schema import Goal, Message, ToolCall

from .guest import Guest, State
from .speech import phrasings, sentence, slot_of

MAX_ATTEMPTS = 2


class Expert:
    def __init__(self, goal: Goal) -> None:
        self._goal, self._guest = goal, Guest(goal)
        self._texts = phrasings(goal.language)

    def next(self, transcript: Sequence[Message]) -> Message:
        """The message a colleague would write after the transcript."""
        rng = Random(f"{self._goal.id}|{len(transcript)}")
        state = self._guest.state(transcript)
        if state is None or state.beat >= len(self._guest.beats):
            return self._say(rng, "reply", "greet" if state is None else "thanks")
        beat = self._guest.beats[state.beat]
        if beat["type"] == "talk":
            return self._say(rng, "reply", beat["topic"])
        return self._work(beat, state, transcript, rng)

    def _work(self, beat: dict[str, Any], state: State, transcript: Sequence[Message], rng: Random) -> Message:
        results: list[Any] = []
        unknown: str | None = None
        for task in beat["tasks"]:
            arguments = _told(task["arguments"], beat, state, _last_code(transcript))
            missing = [a for a in task["arguments"] if slot_of(task["tool"], a) in beat["answers"] and slot_of(task["tool"], a) not in state.told]
            if missing:
                unknown = unknown or slot_of(task["tool"], missing[0])
                continue
            done, attempts = _find(transcript, task["tool"], arguments)
            if done is not None:
                results.append(done)
            elif attempts >= MAX_ATTEMPTS:
                return self._say(rng, "reply", "sorry")
            else:
                call = ToolCall(id=f"call_{len(transcript)}", name=task["tool"], arguments=arguments)
                return Message(role="assistant", tool_calls=(call,))
        if unknown:
            return self._say(rng, "ask", unknown)
        return self._report(beat, results, rng)

    def _report(self, beat: dict[str, Any], results: list[Any], rng: Random) -> Message:
        """The sentence after the last call: what was found, or that it is done."""
        if "answer" in beat:
            return Message(role="assistant", content=beat["answer"])
        if len(results) > 1:
            return self._say(rng, "reply", "several")
        tool, result = beat["tasks"][0]["tool"], results[0]
        if tool in ("find_rooms", "show_menu"):
            pattern = self._texts["reply"]["offer"]
            offers = [sentence_part(pattern, {"name": self._name(name), "price": str(price)}) for name, price in result.items()]
            if not offers:
                return self._say(rng, "reply", "nothing")
            return self._say(rng, "reply", tool, offers=self._or(offers))
        if "full" in result:
            if not result["free"]:
                return self._say(rng, "reply", "nothing")
            free = self._or([self._name(name) for name in result["free"]])
            return self._say(rng, "reply", "full_time" if tool == "book_table" else "full_room", full=self._name(result["full"]), free=free)
        return self._say(rng, "reply", tool, **{name: self._name(str(value)) for name, value in result.items()})

    def _name(self, name: str) -> str:
        return self._texts.get("names", {}).get(name, name)

    def _or(self, names: list[str]) -> str:
        comma = ", " if self._goal.language == "en" else "、"
        return self._texts["reply"]["or"].join([comma.join(names[:-1]), names[-1]] if len(names) > 1 else names)

    def _say(self, rng: Random, section: str, name: str, **values: str) -> Message:
        return Message(role="assistant", content=sentence(rng.choice(self._texts[section][name]), values))


def sentence_part(pattern: str, values: Mapping[str, str]) -> str:
    return pattern.format(**values)


def _told(arguments: dict[str, Any], beat: dict[str, Any], state: State, code: str) -> dict[str, Any]:
    """The arguments as the guest has put them so far: before a change of mind the first wish counts."""
    said = arguments if state.amended else {**arguments, **beat.get("initial", {})}
    return {name: code if value == "$code" else value for name, value in said.items()}


def _find(transcript: Sequence[Message], tool: str, arguments: dict[str, Any]) -> tuple[Any, int]:
    """The result of an equal call that went well (None when there is none), and how often it was tried."""
    attempts = 0
    for call, content in _calls(transcript):
        if call.name == tool and (call.arguments == arguments or tool == "search_knowledge"):
            attempts += 1
            result = _result(content)
            if tool == "search_knowledge" or (isinstance(result, dict) and "error" not in result):
                return result or {}, attempts
    return None, attempts


def _last_code(transcript: Sequence[Message]) -> str:
    """The code of the guest's newest booking."""
    codes = [result["code"] for _, content in _calls(transcript) if isinstance(result := _result(content), dict) and "code" in result]
    return codes[-1] if codes else ""


def _calls(transcript: Sequence[Message]) -> Iterator[tuple[ToolCall, str]]:
    """Every call that has a result, with the result's text."""
    results = {m.tool_call_id: m.content for m in transcript if m.role == "tool"}
    for message in transcript:
        for call in message.tool_calls:
            if call.id in results:
                yield call, results[call.id]


def _result(content: str) -> Any:
    try:
        return json.loads(content)
    except json.JSONDecodeError:
        return None
