"""The guard's seam: whether a checked call may go through, is refused, or needs the user's word first.

The decision uses the call, the tool and where words came from, never the model's judgement.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

from noria.agent.phrases import is_yes
from noria.agent.tools import Tool
from noria.schema import ToolCall

Verdict = Literal["allow", "deny", "ask"]


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Who said what just before the call."""

    user_text: str
    """The user's last message."""
    assistant_text: str
    """What the agent said before it."""


class Policy(Protocol):
    """Decides on one call."""

    def check(self, call: ToolCall, tool: Tool, provenance: Provenance) -> Verdict: ...


class ConfirmingPolicy:
    """The default: a tool with `confirm=True` needs an explicit yes to a message that named every value of the call; all else may pass."""

    def check(self, call: ToolCall, tool: Tool, provenance: Provenance) -> Verdict:
        if not tool.options.confirm:
            return "allow"
        named = all(str(value) in provenance.assistant_text for value in call.arguments.values())
        return "allow" if named and provenance.assistant_text and is_yes(provenance.user_text) else "ask"
