"""Which release is live: promote, roll back, compare, and the account of the error budget.

In: the project's records. Out: moves of releases, each one transaction, refused while a part of the release is missing or corrupt: whatever
happens, the last good release stays live. The gate's evaluations are counted here from the releases themselves: a candidate is written down,
with the level it may spend, before anything is known of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from noria.config import Project
from noria.errors import ArtifactError, DataError
from noria.evaluate import spending
from noria.evaluate.gate import GateConfig
from noria.lifecycle.differences import READERS, differences
from noria.lifecycle.lock import project_lock
from noria.model import resolve
from noria.schema import GateReport, Release
from noria.serve import Serving, changed_parts, first_release, freeze, load_release
from noria.store import ArtifactStore, Database, FeedbackLog, Releases, Traces

PROMOTED_BY_FORCE = "by force: "
FOLDER = "folder"
"""Origin of a release that took over what changed in the project folder: never judged, it spends no error budget."""


@dataclass(frozen=True, kw_only=True)
class Records:
    """What a project has written down; every verb of this folder works on it."""

    project: Project
    database: Database
    artifacts: ArtifactStore
    loader: Callable[[Release], Serving] | None = None
    """Loads a release in another way than `noria.serve.load_release`."""

    @classmethod
    def open(cls, project: Project, loader: Callable[[Release], Serving] | None = None) -> Self:
        return cls(project=project, database=Database.open(project.database_url), artifacts=ArtifactStore(project.artifacts_dir), loader=loader)

    def load(self, release: Release) -> Serving:
        """The release, ready to answer; the caller closes it."""
        if self.loader is not None:
            return self.loader(release)
        return load_release(self.project, self.artifacts, self.traces, release)

    @property
    def releases(self) -> Releases:
        return Releases(self.database)

    @property
    def traces(self) -> Traces:
        return Traces(self.database)

    @property
    def feedback(self) -> FeedbackLog:
        return FeedbackLog(self.database)

    @property
    def gate(self) -> GateConfig:
        return self.project.section("gate", GateConfig)

    def close(self) -> None:
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def verify_parts(records: Records, release: Release) -> None:
    """Check that every part of a release is there and is what was written. Raises ArtifactError or what `resolve` says of base weights."""
    for part, name in release.artifacts.items():
        if is_artifact(name):
            records.artifacts.verify(name)
        elif part in ("engine", "model"):
            resolve(name, records.project.root)


def is_artifact(name: str) -> bool:
    """Whether a part is named by an artifact's hash (and not by the name of base weights)."""
    return len(name) == 64 and all(c in "0123456789abcdef" for c in name)


def promote(records: Records, name: str, *, force: str | None = None, report: GateReport | None = None) -> Release:
    """Make a candidate the live release.

    Args:
        report: The gate's report if it was just made; it is kept in the same transaction. Without it the last one kept decides.
        force: Why the gate's word does not count; kept with the move.

    Raises:
        DataError: no report lets it go live, or the report compared it with a release that is no longer live.
        ArtifactError: a part is missing or corrupt.
    """
    release = records.releases.get(name)
    if force is not None and not force.strip():
        raise DataError("`--force` needs a reason: `noria release promote NAME --force REASON`; it is kept with the release.")
    if release.state == "live":
        return release
    verify_parts(records, release)
    if force is not None:
        return records.releases.move(release.id, "live", PROMOTED_BY_FORCE + force.strip(), report)
    kept = report or next(iter(reversed(records.releases.reports(release.id))), None)
    _check_report(records, release, kept)
    assert kept is not None
    return records.releases.move(release.id, "live", " ".join(kept.reasons), report)


def release_of_folder(records: Records) -> Release:
    """A candidate of the project folder as it stands now, on the live release's weights: changed prompts, `[agent]`, tools or knowledge.

    It costs no training and is not judged; a person says why it may go live (`promote` with `force`).

    Raises:
        DataError: nothing differs from the live release.
        StoreError: an improvement of the project is at work.
    """
    with project_lock(records.project, "improve"):  # a candidate at work has its number and its goals
        return _release_of_folder(records)


def _release_of_folder(records: Records) -> Release:
    live = first_release(records.project, records.releases, records.artifacts)
    changed = changed_parts(records.project, records.artifacts, live)
    if not changed:
        raise DataError(f"Prompts, `[agent]`, tools and knowledge are as r{live.number}, which is live, has them; there is nothing to release.")
    now = freeze(records.project, records.artifacts)
    parts = {**live.artifacts, **{part: now[part] for part in changed}}
    for release in records.releases.list():
        if release.state == "candidate" and release.artifacts == parts and release.parent_id == live.id:
            return release
    return records.releases.add(parts, live.id, {"origin": FOLDER, "changed": changed})


def _check_report(records: Records, release: Release, report: GateReport | None) -> None:
    label = f"r{release.number}"
    if report is None:
        raise DataError(f"The gate has not judged {label}. Run `noria improve`, or `noria release promote {label} --force REASON`.")
    if report.decision != "promote":
        raise DataError(f"The gate did not let {label} pass: {' '.join(report.reasons)} Only `--force REASON` overrides it.")
    live = records.releases.live()
    if live is not None and live.id != report.live_id:
        compared = records.releases.get(report.live_id)
        raise DataError(
            f"{label} was compared with r{compared.number}, but r{live.number} is live now. Run `noria improve` again, or "
            f"`noria release promote {label} --force REASON`."
        )


def roll_back(records: Records, reason: str, to: str | None = None) -> Release:
    """Make an earlier release live again, at once: the one named, else the last good one before the live one.

    Raises:
        DataError: there is none to go back to.
        ArtifactError: the release named is damaged.
    """
    live = records.releases.live()
    if live is None:
        raise DataError("No release is live yet; `noria serve` makes the first one.")
    if to is not None:
        target = records.releases.get(to)
        if target.state != "retired":
            raise DataError(f"r{target.number} is {target.state}; only a release that was live before can be rolled back to.")
        verify_parts(records, target)
    else:
        target = _last_good(records, live)
    return records.releases.move(target.id, "live", f"rolled back from r{live.number}: {reason.strip() or 'no reason given'}")


def _last_good(records: Records, live: Release) -> Release:
    """Along the line of parents, the nearest release that was live and is undamaged."""
    problem: ArtifactError | None = None
    release = live
    while release.parent_id is not None:
        release = records.releases.get(release.parent_id)
        if release.state != "retired":
            continue
        try:
            verify_parts(records, release)
        except ArtifactError as error:
            problem = problem or error
            continue
        return release
    if problem is not None:
        raise problem
    raise DataError(f"r{live.number} is the first release; there is none to go back to.")


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The error budget as it stands before the next evaluation."""

    failures: int
    level: float
    left: float


def budget(records: Records, config: GateConfig, before: int | None = None) -> Budget:
    """What the next evaluation may spend, from how those of the earlier candidates (numbers below `before`) ended.

    A release the gate let pass gave its share back. One that was rejected, refused, promoted by force or left lying has lost it.
    """
    failures = 0
    for release in records.releases.list():
        attempted = release.parent_id is not None and release.notes.get("origin") != FOLDER and (before is None or release.number < before)
        if attempted and not any(report.decision == "promote" for report in records.releases.reports(release.id)):
            failures += 1
    level = spending.share(failures, config.alpha, config.horizon)
    return Budget(failures=failures, level=level, left=spending.budget_left(failures, config.alpha, config.horizon))


def diff(records: Records, before: str, after: str) -> dict[str, Any]:
    """What changed from one release to another: parts, configuration and metrics of the parts' artifacts, files, and what these hold (`contents`)."""
    first, second = records.releases.get(before), records.releases.get(after)
    labels = f"r{first.number}", f"r{second.number}"
    parts: dict[str, Any] = {}
    for part in sorted(set(first.artifacts) | set(second.artifacts)):
        old, new = first.artifacts.get(part), second.artifacts.get(part)
        if old != new:
            parts[part] = {"before": old, "after": new, **_part_changes(_told(records, old), _told(records, new))}
            if contents := _contents(records, part, old, new, labels):
                parts[part]["contents"] = contents
    notes = _changed(first.notes, second.notes)
    return {"before": labels[0], "after": labels[1], "parts": parts, "notes": notes}


def _contents(records: Records, part: str, old: str | None, new: str | None, labels: tuple[str, str]) -> dict[str, Any]:
    if part not in READERS:  # weights hold no names, and to verify gigabytes takes minutes
        return {}
    try:
        before, after = (records.artifacts.verify(name) if name is not None and is_artifact(name) else None for name in (old, new))
    except ArtifactError as error:
        return {"error": str(error)}
    return differences(part, before, after, labels)


def _told(records: Records, name: str | None) -> Mapping[str, Any]:
    """What the manifest of a part tells; nothing for base weights and for a part that is damaged."""
    if name is None or not is_artifact(name):
        return {}
    try:
        manifest = records.artifacts.get(name).manifest
    except ArtifactError as error:
        return {"config": {"error": str(error)}}
    return {"config": manifest.config, "metrics": manifest.metrics, "files": manifest.files}


def _part_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    return {key: found for key in ("config", "metrics", "files") if (found := _changed(old.get(key, {}), new.get(key, {})))}


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    return {key: {"before": old.get(key), "after": new.get(key)} for key in sorted(set(old) | set(new)) if old.get(key) != new.get(key)}


def describe(records: Records, name: str) -> dict[str, Any]:
    """A release with its moves and the gate's reports, as plain values."""
    release = records.releases.get(name)
    return {
        **release.model_dump(mode="json"),
        "moves": [move.model_dump(mode="json") for move in records.releases.moves(release.id)],
        "reports": [report.model_dump(mode="json") for report in records.releases.reports(release.id)],
    }
