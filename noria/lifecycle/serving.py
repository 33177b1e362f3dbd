"""Serving a project with the power to change its releases."""

from collections.abc import Callable
from typing import Any

from noria.config import Project
from noria.lifecycle.releases import Records, promote, roll_back
from noria.lifecycle.sections import check_values
from noria.schema import Release
from noria.serve import ChangeRelease, run


def release_changes(project: Project) -> dict[str, ChangeRelease]:
    """What an operator of the page may do: `promote` a release the gate let pass, and `rollback` to an earlier one."""

    def lift(name: str, _: str) -> Release:
        with Records.open(project) as records:
            return promote(records, name)

    def back(name: str, reason: str) -> Release:
        with Records.open(project) as records:
            target = records.releases.get(name)
            return roll_back(records, reason, None if target.state == "live" else target.id)

    return {"promote": lift, "rollback": back}


def serve_project(project: Project, *, port: int | None = None, host: str | None = None, ready: Callable[[str], None] | None = None) -> None:
    """Serve until stopped; see `noria.serve.run`."""
    check_values(project, training=False)  # a server does without torch
    changes: dict[str, Any] = release_changes(project)
    run(project, port, host, ready=ready, **changes)
