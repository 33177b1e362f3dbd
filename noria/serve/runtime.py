"""What a server needs of a project: its records, its releases in memory, and the place of every request in a conversation.

In: a project folder. Out: leases on the release that answers, and conversations that keep the release they began with. The live release is
read at each new conversation, so that a promotion needs no restart; if it cannot be loaded, the last good one before it goes on serving.
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Self

from noria.agent import Toolbox
from noria.agent.demonstrations import project_tools
from noria.config import Project
from noria.errors import ServeError
from noria.schema import Clock, Release, SystemClock
from noria.serve.busy import Busy
from noria.serve.config import ServeConfig
from noria.serve.engines import Engines
from noria.serve.freeze import TOOLS_FILE, first_release
from noria.serve.serving import Serving, load_release
from noria.store import ArtifactStore, Database, FeedbackLog, Releases, Traces

ChangeRelease = Callable[[str, str], Release]
"""Promotes or rolls back: (release, reason) -> the release, now live. Passed in by whoever owns the order."""


class Runtime:
    """Everything behind the HTTP surface; threads share it."""

    def __init__(
        self,
        project: Project,
        config: ServeConfig,
        database: Database,
        *,
        load: Callable[[Release], Serving] | None = None,
        promote: ChangeRelease | None = None,
        rollback: ChangeRelease | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.project = project
        self.about = project.about
        self.config = config
        self.clock = clock or SystemClock()
        self.database = database
        self.traces = Traces(database, self.clock)
        self.feedback = FeedbackLog(database, self.clock)
        self.releases = Releases(database, self.clock)
        self.artifacts = ArtifactStore(project.artifacts_dir)
        self.promote = promote
        self.rollback = rollback
        self.engines: Engines[Serving] = Engines(load or self._load, config.max_engines)
        self._busy = Busy(project.state_dir / "busy.lock")
        self.alone = self._busy.alone

    @classmethod
    def open(cls, project: Project, overrides: Mapping[str, Any] | None = None, **options: Any) -> Self:
        """Open a project for serving; a project that has no release yet gets its first one, the base model.

        Args:
            overrides: fields of `ServeConfig` from the command line.
            options: `load`, `promote`, `rollback`, `clock` of the constructor.
        """
        config = project.section("serve", ServeConfig, overrides)
        runtime = cls(project, config, Database.open(project.database_url), **options)
        try:
            first_release(project, runtime.releases, runtime.artifacts)
        except BaseException:
            runtime.close()
            raise
        return runtime

    def close(self) -> None:
        self.engines.close()
        self.database.close()
        self._busy.close()

    @cached_property
    def toolbox(self) -> Toolbox:
        """The project's tools, whether a release can be loaded or not."""
        return project_tools(self.project.root / TOOLS_FILE)

    def current(self) -> Release:
        """The release for new conversations: the live one, else the last good one before it. Raises ServeError (503)."""
        live = self.releases.live()
        release, problem = live, None
        while release is not None:
            try:
                with self.engines.lease(release):
                    return release
            except ServeError as error:
                problem = problem or error
            release = self.releases.get(release.parent_id) if release.parent_id is not None else None
        raise problem or ServeError("The project has no live release. Run `noria release list`.", 503, "release_unavailable")

    def release(self, name: str) -> Release:
        """The release of an id or number (`r3`). Raises ServeError (404)."""
        for release in self.releases.list():
            if name in (release.id, f"r{release.number}"):
                return release
        raise ServeError(f"There is no release {name!r:.80}. Ask `GET /v1/releases` which there are.", 404, "release_not_found")

    def _load(self, release: Release) -> Serving:
        return load_release(self.project, self.artifacts, self.traces, release)
