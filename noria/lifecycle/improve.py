"""One turn of the wheel: feedback becomes a candidate release, and the candidate goes live if it is proven better.

In: a project, the minutes it may take, and what to learn from. Out: an `Improvement`. Every stage is an artifact (dataset, evaluation of the live
release, model, engine, evaluation of the candidate): what is finished is not done again, and a killed improvement goes on where it was when it is
started again. What was decided on the way (which dataset, how many minutes of training) is kept in `.noria/improve.json` until the end.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from noria.config import Project
from noria.engine import EngineConfig, readable_base
from noria.errors import ArtifactError, ConfigError, DataError
from noria.evaluate.suites import Suite, SuiteRun
from noria.lifecycle.candidate import Time, base_of, build_engine, tune
from noria.lifecycle.config import ImproveConfig
from noria.lifecycle.datasets import Dataset, dataset_from_feedback, dataset_from_file
from noria.lifecycle.environments import has_environment
from noria.lifecycle.lock import project_lock
from noria.lifecycle.releases import Records, promote
from noria.lifecycle.sections import check_values
from noria.lifecycle.trial import OBJECTIVE, Progress, Trial, measure_release, plan_trial, run_trial, stake
from noria.schema import GateReport, Record, Release, canonical_json
from noria.serve import Serving, first_release, freeze
from noria.store import Artifact, write_file

log = logging.getLogger(__name__)
FEEDBACK = "feedback"
RUN_FILE = "improve.json"
CANDIDATE_COST = {"environment": 1.6, "heldout": 1.0}
"""Seconds of the candidate's evaluation for each second of the live release's: a better agent talks longer with its guests."""
FIXED_SECONDS = 60.0
"""For merging, export, loading and the measurement of speed and memory."""


class Improvement(Record):
    """What came of one improvement."""

    release: Release
    live: Release
    """The release that is live now."""
    report: GateReport
    feedback_used: int
    train: dict[str, Any]
    """Metrics of the training run."""
    before: dict[str, float]
    """Figures of the release that was live, on the items of the trial: what `figures` gives."""
    after: dict[str, float]
    """The same of the candidate."""
    seconds: float
    resumed: bool
    already_known: bool = False
    """The same request was decided before; nothing was done again."""

    @property
    def promoted(self) -> bool:
        return self.report.decision == "promote"


class _Run(Record):
    """What an improvement has decided so far."""

    source: str
    minutes: float
    seed: int
    live_id: str
    dataset: str
    settings: str = ""
    """Of what else in the project folder the candidate depends on: a changed one is another request."""
    train_minutes: float | None = None
    then_seconds: float = 0.0
    """What the candidate's evaluation is expected to take."""
    parts: dict[str, str] = {}
    """The folder's parts of a release as they stood when it began: the candidate takes these, whatever is edited meanwhile."""

    @property
    def request(self) -> str:
        """Two improvements with the same request would give the same candidate."""
        told = self.model_dump(include={"source", "minutes", "seed", "live_id", "dataset", "settings"})
        return hashlib.sha256(canonical_json(told).encode()).hexdigest()


def improve(
    project: Project,
    *,
    progress: Progress,
    loader: Callable[[Release], Serving] | None = None,
    minutes: float | None = None,
    source: str = FEEDBACK,
    seed: int | None = None,
    train_minutes: float | None = None,
) -> Improvement:
    """Improve the project's live release.

    Args:
        minutes: Time for everything; training gets what the evaluation leaves.
        loader: Loads releases in another way than `noria.serve.load_release`.
        source: `feedback`, or the path of a chat file or of an exported folder.
        train_minutes: Time for training alone, instead of what `minutes` leaves.

    Raises:
        ConfigError: the project's answers come from a remote engine.
        DataError: there is nothing to learn from.
        StoreError: another improvement of the project is at work.
    """
    config = project.section("improve", ImproveConfig, {"minutes": minutes, "seed": seed})
    engine = project.section("engine", EngineConfig)
    if engine.kind == "remote":
        raise ConfigError(
            f"`[engine] kind` is remote: answers come from {engine.url}, and training here could not change them. Set `kind` to openvino or "
            "transformers in noria.toml, or train the model that the URL serves."
        )
    check_values(project)  # what is wrong is told before any work
    readable_base(project)
    started = time.monotonic()
    with project_lock(project, "improve"), Records.open(project, loader) as records:
        live = first_release(project, records.releases, records.artifacts)
        run, resumed = _begin(records, live, config, source)
        dataset = Dataset(artifact=records.artifacts.get(run.dataset))
        known = _decided_before(records, run)
        if known is not None:
            live, candidate, report = records.releases.get(run.live_id), known, records.releases.reports(known.id)[-1]
            trial = _trial(records, dataset, config, known.number)
        else:
            trial = _trial(records, dataset, config, _next_number(records, run))
            measure_release(records, live, trial, progress)
            if run.train_minutes is None:
                planned = _time(config, time.monotonic() - started, _objective(records), train_minutes)
                run = _keep(records, run.model_copy(update={"train_minutes": planned.minutes, "then_seconds": planned.then}))
            candidate = _candidate(records, live, run, dataset, progress)
            report = run_trial(records, candidate, live, trial, progress)
            candidate = conclude(records, candidate, report)
        before, after = (figures(measure_release(records, release, trial, progress)[OBJECTIVE]) for release in (live, candidate))
        improvement = Improvement(
            release=candidate,
            live=records.releases.live() or live,
            report=report,
            feedback_used=dataset.feedback_used,
            train=_train_metrics(records, candidate),
            before=before,
            after=after,
            seconds=round(time.monotonic() - started, 1),
            resumed=resumed,
            already_known=known is not None and not resumed,
        )
        if report.decision != "refuse":  # what was missing may be added; then the same run is judged again
            (records.project.state_dir / RUN_FILE).unlink(missing_ok=True)
        return improvement


def figures(run: SuiteRun) -> dict[str, float]:
    """What a person wants to know of an objective: share passed, share of exact and of rightly named tool calls, seconds a reply."""
    found = {"success": run.mean}
    calls = sum(r.metrics.get("calls", 0.0) for r in run.results)
    if calls:
        found["exact_calls"] = sum(r.metrics.get("exact", 0.0) for r in run.results) / calls
        found["named_calls"] = sum(r.metrics.get("named", 0.0) for r in run.results) / calls
    for name in ("exact_calls", "named_calls"):
        value = run.metric(name)
        if value is not None:
            found[name] = value
    replies = sum(r.answer.get("num_turns", 1) for r in run.results)
    found["seconds_a_reply"] = sum(r.seconds for r in run.results) / max(replies, 1)
    return found


def conclude(records: Records, candidate: Release, report: GateReport) -> Release:
    """Do what the gate said, the report kept in the same transaction; a refused candidate stays one."""
    if report.decision == "promote":
        try:
            return promote(records, candidate.id, report=report)
        except DataError:  # another release went live meanwhile; what was measured is not lost
            records.releases.add_report(report)
            raise
    if report.decision == "reject":
        return records.releases.move(candidate.id, "rejected", " ".join(report.reasons), report)
    records.releases.add_report(report)
    return candidate


def _begin(records: Records, live: Release, config: ImproveConfig, source: str) -> tuple[_Run, bool]:
    """The improvement that was left unfinished, if it is the one asked for; else a new one, its dataset made and written down."""
    path = records.project.state_dir / RUN_FILE
    parts = freeze(records.project, records.artifacts)
    settings = _settings(records.project, parts)
    left, begun = None, False
    if path.is_file():
        try:
            left = _Run.model_validate_json(path.read_bytes())
        except ValueError:
            left = None
        same = left is not None and (left.source, left.minutes, left.seed, left.settings) == (source, config.minutes, config.seed, settings)
        begun = left is not None and same and (left.live_id == live.id or _has_promoted(records, left, live))
        if left is not None and begun and source == FEEDBACK and left.train_minutes is not None:  # what came in since is for the next one
            return left, True
    dataset = dataset_from_feedback(records) if source == FEEDBACK else dataset_from_file(records, Path(source).expanduser().resolve())
    if left is not None and begun and left.dataset == dataset.artifact.hash:
        return left, True
    run = _Run(
        source=source, minutes=config.minutes, seed=config.seed, live_id=live.id, dataset=dataset.artifact.hash, settings=settings, parts=parts
    )
    if _decided_before(records, run) is None:
        _check_level(records)
        _ = _trial(records, dataset, config, _next_number(records, run))  # what cannot be judged is told before it is written down as begun
    return _keep(records, run), False


def _check_level(records: Records) -> None:
    """Raises DataError where the error budget has nothing left for another candidate."""
    if stake(records)["level"] <= 0:
        raise DataError(
            f"The error budget of this project is spent: `[gate] horizon` is {records.gate.horizon}, and as many candidates were not promoted. Set a "
            "larger `horizon` if the project may go on; each candidate beyond the first plan adds to the chance of promoting one that is no better."
        )


def _settings(project: Project, parts: Mapping[str, str]) -> str:
    """A hash of `[train]` and `[model]` as they stand in noria.toml, and of the folder's parts of a release."""
    told = {**{name: project.settings.get(name, {}) for name in ("train", "model")}, **parts}
    return hashlib.sha256(canonical_json(told).encode()).hexdigest()


def _keep(records: Records, run: _Run) -> _Run:
    write_file(records.project.state_dir / RUN_FILE, [json.dumps(run.model_dump(), indent=2) + "\n"])
    return run


def _decided_before(records: Records, run: _Run) -> Release | None:
    """The release that the same request made and the gate decided on."""
    for release in records.releases.list():
        if release.notes.get("request") == run.request and release.state != "candidate" and records.releases.reports(release.id):
            return release
    return None


def _has_promoted(records: Records, run: _Run, live: Release) -> bool:
    """Whether the run was killed when its candidate had just gone live: it is over then but for its account, and not to be made a second time."""
    made = _decided_before(records, run)
    return made is not None and made.id == live.id and records.releases.reports(made.id)[-1].decision == "promote"


def _trial(records: Records, dataset: Dataset, config: ImproveConfig, number: int) -> Trial:
    """On what a candidate is judged; its number seeds the goals."""
    heldout: Suite | None = None
    if _objective(records) == "heldout":
        heldout = dataset.heldout(config.max_heldout)
        if heldout is None:
            raise DataError(
                "Nothing is held out to judge a candidate on: all examples are of users on the training side. Collect feedback of more users, "
                "or raise `evaluation_share` in `[feedback]` of noria.toml."
            )
    return plan_trial(records, heldout, number)


def _objective(records: Records) -> str:
    """What candidates of the project are judged on: guests of its environment, or held-out decisions."""
    return records.gate.objective or ("environment" if has_environment(records.project) else "heldout")


def _next_number(records: Records, run: _Run) -> int:
    """The number of the candidate: of the one that waits for its evaluation, else the next one."""
    releases = records.releases.list()
    waiting = [release for release in releases if release.state == "candidate" and release.notes.get("request") == run.request]
    return waiting[-1].number if waiting else max((release.number for release in releases), default=0) + 1


def _time(config: ImproveConfig, spent_seconds: float, objective: str, train_minutes: float | None) -> Time:
    """What the evaluation of the candidate is expected to leave, judged by that of the live release; never under the share configured.

    Args:
        train_minutes: the time for training, where it was given; then nothing is left for later.
    """
    if train_minutes is not None:
        return Time(minutes=train_minutes)
    total = config.minutes * 60
    then = spent_seconds * CANDIDATE_COST[objective] + FIXED_SECONDS
    return Time(minutes=round(max(total - spent_seconds - then, config.min_train_share * total) / 60, 2), then=round(then, 1))


def _candidate(records: Records, live: Release, run: _Run, dataset: Dataset, progress: Progress) -> Release:
    """Train, export, and write the candidate down with the level its evaluation may spend, all before anything is known of it."""
    project = records.project
    assert run.train_minutes is not None
    planned = Time(minutes=run.train_minutes, then=run.then_seconds)
    model = tune(records, base_of(records, live), dataset, _replay(records, live, dataset), planned, run.seed, progress)
    engine = build_engine(records, model, progress)
    parts = {**(run.parts or freeze(project, records.artifacts)), "model": model.hash, "engine": engine.hash, "dataset": dataset.artifact.hash}
    for release in records.releases.list():
        if release.state == "candidate" and release.artifacts == parts and release.parent_id == live.id:
            return release
    notes: dict[str, Any] = {
        "origin": "improve",
        "source": run.source,
        "request": run.request,
        "dataset": dataset.artifact.hash,
        "feedback_used": dataset.feedback_used,
        "minutes": round(float(model.manifest.metrics.get("train_seconds", 0.0)) / 60, 2),
        "gate": stake(records),
    }
    return records.releases.add(parts, live.id, notes)


def _replay(records: Records, live: Release, dataset: Dataset) -> list[Path]:
    """Training rows that the live release and those before it learnt from and that the new dataset does not hold.

    Feedback is exported whole, so its newest export stands for the earlier ones; a file counts once, however it was framed. A dataset that is no
    longer readable is left out, and said so.
    """
    found: list[Path] = []
    seen = {_source_of(dataset.artifact)}
    for release in _line_of(records, live):
        earlier = release.artifacts.get("dataset")
        try:
            artifact = records.artifacts.get(earlier) if earlier is not None else None
        except ArtifactError as error:
            log.warning("the rows that r%d learnt from are not replayed: %s", release.number, error)
            continue
        if artifact is not None and _source_of(artifact) not in seen:
            seen.add(_source_of(artifact))
            found.append(artifact.path / "train")
    return found


def _line_of(records: Records, release: Release) -> Iterator[Release]:
    """A release, the one it was made from, and so on."""
    yield release
    while release.parent_id is not None:
        release = records.releases.get(release.parent_id)
        yield release


def _source_of(artifact: Artifact) -> str:
    """Where a dataset's rows come from: the feedback, or a file by its content."""
    inputs = artifact.manifest.inputs
    return "feedback" if "feedback" in inputs else canonical_json(dict(inputs))


def _train_metrics(records: Records, release: Release) -> dict[str, Any]:
    model = release.artifacts.get("model")
    return dict(records.artifacts.get(model).manifest.metrics) if model else {}
