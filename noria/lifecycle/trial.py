"""A candidate's trial: both releases on the same items, and the gate's word.

In: a candidate that is written down with the level it may spend, and the live release. Out: a `GateReport`. What is measured is kept as
artifacts of the kind evaluation, addressed by the release's parts and the items, so that a killed trial goes on where it was, a release is never
measured twice on the same items, and nobody can draw a second time. Goals of an environment are fresh for each candidate: its number seeds them.
"""

import json
import math
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from noria.config import Project
from noria.engine import EngineConfig
from noria.errors import DataError
from noria.evaluate.gate import Attempt, PairedSuite, decide
from noria.evaluate.suites import Item, ItemResult, ResultsFile, Suite, SuiteRun, item_request, load_suite, read_results, run_suite, suite_paths
from noria.lifecycle.channels import AgentChannel
from noria.lifecycle.environments import load_environment
from noria.lifecycle.episodes import EpisodeResult, run_episodes
from noria.lifecycle.footprint import Footprint, measure_footprints
from noria.lifecycle.framing import Frame
from noria.lifecycle.releases import Records, budget
from noria.schema import Environment, GateReport, GenerationRequest, Goal, Release, canonical_json
from noria.serve import Serving
from noria.store import Database, Traces, file_hash, write_file

Progress = Callable[[str, float, float], None]
"""Called with a stage's name, what is done and what there is in all."""
OBJECTIVE = "objective"
SPEED, MEMORY = "speed", "memory"
RESULTS_FILE = "results.jsonl"
TRANSCRIPTS_FILE = "transcripts.jsonl"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """On what a candidate is judged."""

    objective: Suite | tuple[Goal, ...]
    """Held-out decisions, or goals of the project's environment."""
    protected: tuple[Suite, ...]
    environment: Environment | None = None


def plan_trial(records: Records, heldout: Suite | None, candidate_number: int) -> Trial:
    """The items for a candidate: the project's environment (or the held-out decisions), and every suite of `evals/`. Raises DataError."""
    protected = tuple(load_suite(path) for path in suite_paths(records.project.root / "evals"))
    _check_names(protected, records)
    if heldout is not None:
        return Trial(objective=heldout, protected=protected)
    environment = load_environment(records.project)
    goals = environment.goals("evaluation", records.gate.num_goals, candidate_number)
    return Trial(objective=tuple(goals), protected=protected, environment=environment)


def _check_names(protected: Sequence[Suite], records: Records) -> None:
    """Raises DataError for a suite that bears the name of what the gate adds itself, and for a margin of no suite."""
    names = [suite.name for suite in protected]
    if reserved := [name for name in names if name in (OBJECTIVE, SPEED, MEMORY)]:
        raise DataError(f"A suite in `evals/` is called {reserved[0]!r}, which is the gate's own name; rename the file.")
    if unknown := [name for name in records.gate.margins if name not in names]:
        raise DataError(f"`[gate] margins` names {unknown[0]!r}, but the suites in `evals/` are: {', '.join(names) or 'none'}. Correct the name.")


def stake(records: Records) -> dict[str, Any]:
    """What a new candidate's notes say of its evaluation, before it is known: the level it may spend."""
    now = budget(records, records.gate)
    return {"level": now.level, "failures": now.failures}


def run_trial(records: Records, candidate: Release, live: Release, trial: Trial, progress: Progress) -> GateReport:
    """Measure both releases and let the gate decide. The caller keeps the report."""
    runs = [measure_release(records, release, trial, progress) for release in (live, candidate)]
    suites = [_paired(OBJECTIVE, "objective", runs), *(_paired(suite.name, "protected", runs) for suite in trial.protected)]
    suites += _footprint_suites(records, live, candidate, progress)
    noted = candidate.notes.get("gate") or stake(records)
    attempt = Attempt(
        candidate_id=candidate.id,
        live_id=live.id,
        level=noted["level"],
        failures=noted["failures"],
        already_spent=sum(report.alpha_spent for report in records.releases.reports(candidate.id)),
        required=(OBJECTIVE, *(suite.name for suite in trial.protected), SPEED, MEMORY),
    )
    return decide(attempt, suites, records.gate, datetime.now(UTC))


def measure_release(records: Records, release: Release, trial: Trial, progress: Progress) -> dict[str, SuiteRun]:
    """Every suite of the trial for one release, from the artifacts where they are there; the engine is loaded only if one is not."""
    with _lazily_loaded(records, release) as load:
        runs = {suite.name: _measure_suite(records, release, suite, load, progress) for suite in trial.protected}
        if isinstance(trial.objective, Suite):
            runs[OBJECTIVE] = _measure_suite(records, release, trial.objective, load, progress)
        else:
            assert trial.environment is not None
            runs[OBJECTIVE] = measure_goals(records, release, trial.environment, trial.objective, load, progress)
    return runs


Load = Callable[[], Serving]


@contextmanager
def _lazily_loaded(records: Records, release: Release) -> Generator[Load]:
    """A function that loads the release at its first call."""
    loaded: list[Serving] = []

    def load() -> Serving:
        if not loaded:
            loaded.append(records.load(release))
        return loaded[0]

    try:
        yield load
    finally:
        for serving in loaded:
            serving.close()


def _measure_suite(records: Records, release: Release, suite: Suite, load: Load, progress: Progress) -> SuiteRun:
    label = f"r{release.number}: {suite.name}"
    content = sha256(canonical_json(suite.model_dump(mode="json")).encode()).hexdigest()

    def make(folder: Path) -> dict[str, Any]:
        serving = load()
        run = run_suite(
            suite,
            serving.generator,
            make_request=partial(as_served, serving),
            results_path=folder / RESULTS_FILE,
            progress=lambda done, total: progress(label, done, total),
        )
        return {"mean": run.mean, "n": len(run.results)}

    inputs = {**_parts(records, release), "suite": content}
    artifact = records.artifacts.build("evaluation", inputs, {"suite": suite.name, "release_parts": sorted(release.artifacts)}, 0, make)
    results = read_results(artifact.path / RESULTS_FILE)
    return SuiteRun.of(suite, results)


def as_served(serving: Serving, item: Item) -> GenerationRequest:
    """The request of an item as the agent would make it: system prompt of the day, hints on what users say, the release's tools."""
    frame = Frame.of_release(serving)
    return item_request(item.model_copy(update={"messages": frame.messages(item.messages, item.today)}), tools=frame.specs)


def measure_goals(records: Records, release: Release, environment: Environment, goals: Sequence[Goal], load: Load, progress: Progress) -> SuiteRun:
    """Let the guests of these goals talk to a release, each in a fresh world."""
    label = f"r{release.number}: guests"
    content = sha256(canonical_json([goal.model_dump(mode="json") for goal in goals]).encode()).hexdigest()

    def make(folder: Path) -> dict[str, Any]:
        done = {result.id for result in read_results(folder / RESULTS_FILE)}
        _cut_transcripts(folder / TRANSCRIPTS_FILE, done)
        with Database.open(f"sqlite:///{folder / '.episodes.db'}") as database, ResultsFile(folder / RESULTS_FILE) as out:
            channel = AgentChannel(_with_traces(load(), Traces(database)))
            count = len(done)

            def keep(result: EpisodeResult) -> None:
                nonlocal count
                _keep_transcript(folder / TRANSCRIPTS_FILE, result)
                out.write(result.item())
                progress(label, count := count + 1, len(goals))

            run_episodes(environment, [goal for goal in goals if goal.id not in done], channel, on_result=keep)
        results = read_results(folder / RESULTS_FILE)
        return {"mean": sum(r.value for r in results) / len(results), "n": len(results)}

    inputs = {**_parts(records, release), "goals": content, "world": world_hash(records.project)}
    artifact = records.artifacts.build("evaluation", inputs, {"environment": environment.name, "num_goals": len(goals)}, 0, make)
    results = read_results(artifact.path / RESULTS_FILE)
    return SuiteRun(suite=OBJECTIVE, kind="pass", expected_ids=tuple(goal.id for goal in goals), results=tuple(results))


def _with_traces(serving: Serving, traces: Traces) -> Serving:
    """Conversations of a trial are kept apart from those of people."""
    return replace(serving, traces=traces)


def _keep_transcript(path: Path, result: EpisodeResult) -> None:
    messages = [message.to_openai() for message in result.transcript]
    row = {"goal": result.goal.model_dump(mode="json"), "outcome": result.outcome.model_dump(), "messages": messages}
    with path.open("a", encoding="utf-8") as file:
        file.write(canonical_json(row) + "\n")


def _cut_transcripts(path: Path, done: set[str]) -> None:
    """Drop the transcripts of goals whose result a kill kept from being written: they talk once more."""
    if path.is_file():
        rows = [row.decode("utf-8") for row in path.read_bytes().split(b"\n")[:-1]]  # behind the last line end: nothing, or a row cut off
        write_file(path, [f"{row}\n" for row in rows if json.loads(row)["goal"]["id"] in done])


def _parts(records: Records, release: Release) -> dict[str, str]:
    """What decides how a release answers: its parts, and by which arithmetic they are run."""
    parts = {part: name for part, name in release.artifacts.items() if part in ("engine", "prompts", "tools", "knowledge")}
    return {**parts, "arithmetic": _arithmetic(records)}


def _arithmetic(records: Records) -> str:
    engine = records.project.section("engine", EngineConfig)
    return f"{engine.kind}/{engine.device}/{engine.cache_precision}"


def world_hash(project: Project) -> str:
    """Content of the code that makes the environment's world and the tools' doings."""
    paths = [p for p in sorted(project.root.rglob("*")) if p.suffix in (".py", ".toml") and p.is_file()]
    visible = [p for p in paths if not any(part.startswith(".") for part in p.relative_to(project.root).parts) and p.name != "noria.toml"]
    return sha256(canonical_json({p.relative_to(project.root).as_posix(): file_hash(p) for p in visible}).encode()).hexdigest()


def _paired(name: str, role: Literal["objective", "protected"], runs: Sequence[dict[str, SuiteRun]]) -> PairedSuite:
    before, after = (_values(run[name].results) for run in runs)
    run = runs[0][name]
    return PairedSuite(suite=name, role=role, kind=run.kind, before=before, after=after, expected_ids=run.expected_ids, groups=run.groups)


def _values(results: Sequence[ItemResult]) -> dict[str, float]:
    return {result.id: result.value for result in results}


def _footprint_suites(records: Records, live: Release, candidate: Release, progress: Progress) -> list[PairedSuite]:
    """Speed and memory of the two engines on this machine, as protected suites with margins relative to the live release."""
    engines = [live.artifacts["engine"], candidate.artifacts["engine"]]

    def make(folder: Path) -> dict[str, Any]:
        opened = [partial(records.load, release) for release in (live, candidate)]
        found = measure_footprints(opened, lambda done, total: progress("speed and memory", done, total))
        (folder / "footprints.jsonl").write_text("".join(f.model_dump_json() + "\n" for f in found), encoding="utf-8")
        return {"speed": [sum(f.tokens_per_second) / len(f.tokens_per_second) for f in found], "memory": [f.memory_megabytes for f in found]}

    inputs = {"live": engines[0], "candidate": engines[1], "arithmetic": _arithmetic(records)}
    artifact = records.artifacts.build("evaluation", inputs, {"footprint": candidate.id}, 0, make)
    lines = (artifact.path / "footprints.jsonl").read_text(encoding="utf-8").splitlines()
    before, after = (Footprint.model_validate_json(line) for line in lines)
    speeds = [{f"request-{i:02d}": speed for i, speed in enumerate(f.tokens_per_second)} for f in (before, after)]
    mean_speed = math.fsum(before.tokens_per_second) / len(before.tokens_per_second)
    config = records.gate
    return [
        PairedSuite(
            suite=SPEED,
            role="protected",
            kind="score",
            before=speeds[0],
            after=speeds[1],
            expected_ids=tuple(speeds[0]),
            margin=config.max_slowdown * mean_speed,
        ),
        PairedSuite(
            suite=MEMORY,
            role="protected",
            kind="fact",
            before={"engine": -before.memory_megabytes},
            after={"engine": -after.memory_megabytes},
            expected_ids=("engine",),
            margin=config.max_memory_growth * before.memory_megabytes,
        ),
    ]
