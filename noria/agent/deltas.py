"""Which pieces of a generated text are shown while it is made: replies at once, tool calls never."""

from noria.model.tool_text import CALL_BEGINS
from noria.schema import Delta


class ReplyGate:
    """Holds pieces back until it is clear whether the text is a reply or a tool call; `has_tools` False lets everything through."""

    def __init__(self, has_tools: bool) -> None:
        self._held: list[Delta] = []
        self._state = "unknown" if has_tools else "reply"

    @property
    def shown(self) -> bool:
        """Whether something of the text was let through."""
        return self._state == "reply" and not self._held

    def feed(self, delta: Delta) -> list[Delta]:
        """Pieces that may be shown now."""
        if self._state == "reply":
            return [delta]
        if self._state == "call":
            return []
        self._held.append(delta)
        text = "".join(d.text for d in self._held).lstrip()
        if any(text.startswith(begin) for begin in CALL_BEGINS):
            self._state = "call"
            return []
        if not text or any(begin.startswith(text) for begin in CALL_BEGINS):
            return []
        self._state = "reply"
        return self._released()

    def rest(self) -> list[Delta]:
        """What is still held when the text turned out to be a reply."""
        return self._released() if self._state == "unknown" else []

    def _released(self) -> list[Delta]:
        held, self._held = self._held, []
        return held
