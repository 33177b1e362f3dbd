"""The agent: it settles what it can, asks the model for one decision a step, checks it, acts, and writes everything down before it acts."""

from noria.agent.hints import hints
from noria.agent.tools import Tool, Toolbox, ToolContext, ToolResult, tool

__all__ = ["Tool", "ToolContext", "ToolResult", "Toolbox", "hints", "tool"]
