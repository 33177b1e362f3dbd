"""The agent: it settles what it can, asks the model for one decision a step, checks it, acts, and writes everything down before it acts."""

from noria.agent.config import AgentConfig, load_prompt, render_prompt
from noria.agent.events import Event, StepEvent, TurnEvent
from noria.agent.hints import hints
from noria.agent.loop import Agent
from noria.agent.policy import ConfirmingPolicy, Policy, Provenance
from noria.agent.tools import Tool, Toolbox, ToolContext, ToolResult, tool

__all__ = [
    "Agent",
    "AgentConfig",
    "ConfirmingPolicy",
    "Event",
    "Policy",
    "Provenance",
    "StepEvent",
    "Tool",
    "ToolContext",
    "ToolResult",
    "Toolbox",
    "TurnEvent",
    "hints",
    "load_prompt",
    "render_prompt",
    "tool",
]
