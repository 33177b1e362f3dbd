"""The whole wheel, once: a project is served, guests talk to it, their feedback and a colleague's work make a candidate, the gate judges it.

In: how long to train, and where. Out: a `Demo` with the figures, and a server that goes on. Everything is real: the embedded model, the HTTP
server, the training, the gate. Before and after are measured by the gate on the same goals, each in a fresh world, with phrasings, names and dates
that training did not see.
"""

import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import uvicorn

from noria.config import Project
from noria.errors import ConfigError, ServeError
from noria.lifecycle.channels import AgentChannel, ColleagueGenerator, HttpChannel, WorldServing
from noria.lifecycle.environments import load_environment
from noria.lifecycle.episodes import EpisodeResult, record_feedback, run_episodes
from noria.lifecycle.improve import Improvement, improve
from noria.lifecycle.serving import release_changes
from noria.lifecycle.trial import SPEED, Progress
from noria.schema import Environment, Goal, Release
from noria.serve import Runtime, load_release
from noria.serve.server import address_of, listen, uvicorn_config

TEMPLATE = "front-desk"
MakeProject = Callable[[str, Path], Path]
"""Makes a project folder from a template: `noria.templates.make_project`."""
READY_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """How much of everything."""

    minutes: float = 7.0
    """Minutes of training."""
    port: int = 8000
    """Port of the page; the next free one is taken where it is in use."""
    num_visitors: int = 24
    """Guests who talk to the server before, and again as many new ones after."""
    num_colleague: int = 150
    """Guests whom the colleague serves, for the model to learn from."""
    num_goals: int = 60
    """Held-out goals on which the gate compares the releases."""
    seed: int = 1


@dataclass(kw_only=True)
class Demo:
    """What the demo showed."""

    project: Path
    address: str
    improvement: Improvement
    visitors_before: Sequence[EpisodeResult]
    visitors_after: Sequence[EpisodeResult]
    feedback: dict[str, int]
    seconds: float
    _server: threading.Thread = field(repr=False)

    def summary(self) -> dict[str, Any]:
        """The figures as one object."""
        objective = next((s for s in self.improvement.report.suites if s.role == "objective"), None)
        speed = next((s for s in self.improvement.report.suites if s.suite == SPEED), None)
        sides = [dict(self.improvement.before), dict(self.improvement.after)]
        for side, value in zip(sides, (speed.before, speed.after) if speed else (), strict=False):
            side["tokens_per_second"] = value
        return {
            "before": sides[0],
            "after": sides[1],
            "n": objective.n if objective else 0,
            "effect": objective.effect if objective else None,
            "interval": objective.interval if objective else None,
            "p": objective.p if objective else None,
            "promoted": self.improvement.promoted,
            "live": f"r{self.improvement.live.number}",
            "reasons": list(self.improvement.report.reasons),
            "feedback": self.feedback,
            "train": self.improvement.train,
            "new_guests": {"n": len(self.visitors_after), "before": _share(self.visitors_before), "after": _share(self.visitors_after)},
            "seconds": round(self.seconds, 1),
            "project": str(self.project),
            "address": self.address,
        }

    def serve_on(self) -> None:
        """Keep serving until the process is interrupted."""
        while self._server.is_alive():
            self._server.join(1.0)


@contextmanager
def run_demo(config: DemoConfig, folder: Path | None, make_project: MakeProject, progress: Progress) -> Generator[Demo]:
    """Run the demo; the server lives as long as the block."""
    started = time.monotonic()
    project = _project(make_project(TEMPLATE, folder or _new_folder()), config)
    environment = load_environment(project)
    with _server(project, config.port) as served:
        guests = environment.goals("train", config.num_visitors + config.num_colleague, config.seed)
        visitors = _visit(served, environment, guests[: config.num_visitors], "guests talk to the server", progress)
        feedback = _collect(served, environment, visitors)
        feedback["colleague"] = _colleague_works(served.runtime, environment, guests[config.num_visitors :], progress)
        improvement = improve(project, progress=progress, train_minutes=config.minutes, minutes=_total_minutes(config))
        fresh = environment.goals("evaluation", config.num_visitors, config.seed + 10_000)
        after = _visit(served, environment, fresh, f"new guests talk to r{improvement.live.number}", progress)
        yield Demo(
            project=project.root,
            address=served.address,
            improvement=improvement,
            visitors_before=visitors,
            visitors_after=after,
            feedback=feedback,
            seconds=time.monotonic() - started,
            _server=served.thread,
        )


def _new_folder() -> Path:
    """`noria-demo`, or the first of `noria-demo-2`, ... that is not there."""
    names = ("noria-demo", *(f"noria-demo-{number}" for number in range(2, 1000)))
    return next(Path(name) for name in names if not Path(name).exists())


def _project(root: Path, config: DemoConfig) -> Project:
    project = Project.load(root)
    gate = {**project.settings.get("gate", {}), "num_goals": config.num_goals}
    return replace(project, settings={**project.settings, "gate": gate})


def _total_minutes(config: DemoConfig) -> float:
    return 3 * config.minutes


@dataclass(frozen=True, kw_only=True)
class _Served:
    """A server in this process, and the worlds of its guests."""

    runtime: Runtime
    address: str
    worlds: dict[str, Path]
    thread: threading.Thread


@contextmanager
def _server(project: Project, port: int) -> Generator[_Served]:
    """Serve the project from a thread; each guest who names a goal meets the world of that goal."""
    worlds: dict[str, Path] = {}

    def load(release: Release) -> WorldServing:
        return WorldServing.of(load_release(project, runtime.artifacts, runtime.traces, release), worlds)

    with ExitStack() as stack:
        listener = _listen(port)
        stack.callback(listener.close)
        changes: dict[str, Any] = release_changes(project)
        runtime = Runtime.open(project, load=load, **changes)
        stack.callback(runtime.close)
        runtime.current()  # loads the engine, so that its faults show here
        server = uvicorn.Server(uvicorn_config(runtime))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="server", daemon=True)
        thread.start()
        stack.callback(_stop, server, thread)
        deadline = time.monotonic() + READY_SECONDS
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise ServeError("The server did not start. Run `noria doctor`.", 503)
            time.sleep(0.05)
        yield _Served(runtime=runtime, address=address_of(listener), worlds=worlds, thread=thread)


def _listen(port: int) -> Any:
    """A socket on `port`, else on any free one."""
    try:
        return listen("127.0.0.1", port)
    except ServeError:
        return listen("127.0.0.1", 0)


def _stop(server: uvicorn.Server, thread: threading.Thread) -> None:
    server.should_exit = True
    thread.join(timeout=10)


def _visit(served: _Served, environment: Environment, goals: Sequence[Goal], label: str, progress: Progress) -> list[EpisodeResult]:
    """Guests talk to the server over HTTP, as any client would."""
    channel = HttpChannel(served.address, served.runtime.about.name, served.worlds)
    done = 0

    def count(_: EpisodeResult) -> None:
        nonlocal done
        progress(label, done := done + 1, len(goals))

    progress(label, 0, len(goals))
    try:
        return run_episodes(environment, goals, channel, on_result=count)
    finally:
        channel.close()


def _collect(served: _Served, environment: Environment, visitors: Sequence[EpisodeResult]) -> dict[str, int]:
    """Guests judge, the world reports, and the colleague corrects what she sees: all over HTTP."""
    channel = HttpChannel(served.address, served.runtime.about.name, served.worlds)
    try:
        given = sum(record_feedback(channel, environment, visitor, corrections=True) for visitor in visitors)
    finally:
        channel.close()
    return {"visitors": given}


def _colleague_works(runtime: Runtime, environment: Environment, goals: Sequence[Goal], progress: Progress) -> int:
    """A skilled colleague serves guests at the same desk; each of her decisions is a demonstration."""
    release = runtime.current()
    given, done = 0, 0
    with runtime.engines.lease(release) as serving:
        channel = AgentChannel(serving, generator_for=ColleagueGenerator)

        def keep(result: EpisodeResult) -> None:
            nonlocal given, done
            given += record_feedback(runtime.feedback, environment, result, corrections=True, judged=False)
            progress("a colleague serves guests", done := done + 1, len(goals))

        run_episodes(environment, goals, channel, on_result=keep)
    if not given:
        raise ConfigError("The colleague served no guest; the project's environment gives no goals to train on.")
    return given


def _share(results: Sequence[EpisodeResult]) -> float:
    return sum(result.outcome.success for result in results) / max(len(results), 1)
