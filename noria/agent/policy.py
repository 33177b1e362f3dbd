"""The guard's seam: whether a checked call may go through, is refused, or needs the user's word first.

The decision uses the call, the tool and where words came from, never the model's judgement.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

from noria.agent.phrases import is_yes
from noria.agent.tools import Tool
from noria.schema import ToolCall, canonical_json

Verdict = Literal["allow", "deny", "ask"]


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Who said what just before the call."""

    user_text: str
    """The user's last message."""
    assistant_text: str
    """What the agent said before it."""
    asked: ToolCall | None = None
    """The call that the agent asked about just before, if the user's message is the answer to that and nothing was done on it yet."""


class Policy(Protocol):
    """Decides on one call."""

    def check(self, call: ToolCall, tool: Tool, provenance: Provenance) -> Verdict: ...


class ConfirmingPolicy:
    """The default: a tool with `confirm=True` needs the user's explicit yes to exactly this call, for each time; all else may pass."""

    def check(self, call: ToolCall, tool: Tool, provenance: Provenance) -> Verdict:
        if not tool.options.confirm:
            return "allow"
        asked = provenance.asked
        same = asked is not None and (asked.name, canonical_json(asked.arguments)) == (call.name, canonical_json(call.arguments))
        return "allow" if same and is_yes(provenance.user_text) else "ask"
