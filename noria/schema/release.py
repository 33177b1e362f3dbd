"""Releases and the report of the gate that let one go live or did not."""

from datetime import datetime
from typing import Any, Literal

from noria.schema.messages import Record

ReleaseState = Literal["candidate", "canary", "live", "retired", "rejected"]


class Release(Record):
    """Model, prompts, tools, flows and knowledge frozen together; `artifacts` names each part's hash."""

    id: str
    number: int
    """1, 2, 3, ... within the project; `r3` names it on the command line."""
    parent_id: str | None
    state: ReleaseState
    artifacts: dict[str, str]
    """Part (model, engine, prompts, tools, knowledge, dataset) to artifact hash or registry name."""
    created_at: datetime
    notes: dict[str, Any] = {}


class SuiteResult(Record):
    """One suite measured for both releases on the same items."""

    suite: str
    role: Literal["objective", "protected"]
    n: int
    before: float
    after: float
    effect: float
    """Mean difference, after minus before, in the metric's unit (higher is better)."""
    interval: tuple[float, float]
    test: str
    p: float
    alpha: float
    margin: float | None = None
    """Allowed loss of a protected suite; None for the objective."""
    passed: bool
    reason: str


class GateReport(Record):
    """The decision on one candidate. `promoted` is true only if every suite is there, complete and passed."""

    candidate_id: str
    live_id: str
    decision: Literal["promote", "reject", "refuse"]
    """refuse: something was missing or incomplete, so nothing was decided."""
    reasons: tuple[str, ...]
    suites: tuple[SuiteResult, ...]
    alpha_spent: float
    alpha_left: float
    created_at: datetime
