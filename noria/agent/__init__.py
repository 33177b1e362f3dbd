"""The agent: it settles what it can, asks the model for one decision a step, checks it, acts, and writes everything down before it acts."""

from noria.agent.hints import hints

__all__ = ["hints"]
