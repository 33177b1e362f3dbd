"""Feedback to task files: `train/` and `evaluation/`, each with `chat.jsonl`, `thumbs.jsonl` and `preference.jsonl`, and `report.json`.

Nothing is written before personal data are redacted, users are apart, and near-duplicates of training examples are out of the evaluation set.
The report counts all that was left out, by reason. The files are what `noria.data` reads; a file without rows is not written.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from noria.data import Item, NearDuplicates, Side, Split, example_key, split_by_group, split_by_time, write_task
from noria.errors import ConfigError, DataError
from noria.feedback.assemble import FILES, Assembly, Row
from noria.feedback.config import FeedbackConfig
from noria.feedback.decisions import Dialogue
from noria.feedback.redact import Redactor
from noria.feedback.select import select_feedback
from noria.schema import Feedback, Record, ToolSpec
from noria.store import Artifact, ArtifactStore, Database, FeedbackLog, Traces, write_file

REPORT = "report.json"


class ExportReport(Record):
    """What an export wrote, and what it left out."""

    rows: dict[str, int]
    """`train/chat` and so on to the number of rows; only files that were written."""
    feedback_read: int
    feedback_used: int
    """Pieces that stand behind the rows before duplicates were removed."""
    users: dict[Side, int]
    conversations: dict[Side, int]
    dropped: dict[str, int]
    """Reason to how many pieces of feedback or rows were left out for it."""
    redacted: dict[str, int]
    """Kind of personal data to how many values were replaced."""
    split_by: str
    cutoff: datetime | None = None
    last: datetime | None = None
    """Time of the newest piece read: `since` of the next export, if only what is new is wanted."""


def export(
    database: Database,
    out: Path,
    config: FeedbackConfig | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> ExportReport:
    """Write the feedback from `since` (included) to `until` (not included) as task files into `out`. Raises ConfigError, StoreError."""
    if file := next((path for path in (out, *out.parents) if path.exists() and not path.is_dir()), None):
        raise ConfigError(f"'{file}' is a file; name a folder that `train/` and `evaluation/` are written into.")
    config = config or FeedbackConfig()
    pieces = FeedbackLog(database).list(since=since, until=until)
    return _export(Traces(database), pieces, out, config)


def export_artifact(
    database: Database,
    artifacts: ArtifactStore,
    config: FeedbackConfig | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> tuple[Artifact, ExportReport]:
    """As `export`, into an artifact of kind `dataset`; the same feedback under the same configuration is exported once."""
    config = config or FeedbackConfig()
    pieces = FeedbackLog(database).list(since=since, until=until)
    artifact = artifacts.build(
        "dataset",
        {"feedback": hashlib.sha256("\n".join(piece.id for piece in pieces).encode()).hexdigest()},
        {"feedback": config.model_dump(mode="json")},
        config.split_seed,
        lambda folder: {"rows": _export(Traces(database), pieces, folder, config).rows},
        wait_seconds=60,
    )
    return artifact, read_report(artifact.path)


def read_report(out: Path) -> ExportReport:
    """The report of an export. Raises DataError where there is none."""
    path = out / REPORT
    try:
        return ExportReport.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"'{path}' is no report of an export. Run `noria feedback export {out}`.") from error


def task_path(out: Path, side: Side, task: str) -> Path:
    """Where an export keeps the rows of a task; the file is there only if it has rows."""
    return out / side / f"{task}.jsonl"


def _export(traces: Traces, pieces: Sequence[Feedback], out: Path, config: FeedbackConfig) -> ExportReport:
    dropped: Counter[str] = Counter()
    redacted: Counter[str] = Counter()
    selected = select_feedback(pieces, config, dropped)
    rows = _assemble(traces, selected, config, dropped, redacted)
    split = _split(rows, config)
    dropped["row: an evaluation user's, from before the cutoff"] += len(split.dropped)
    placed: dict[Side, list[Row]] = {"train": [], "evaluation": []}
    for index, row in enumerate(rows):
        if index in split.sides:
            placed[split.sides[index]].append(row)
    counts = _write(out, placed, config, dropped)
    report = ExportReport(
        rows=counts,
        feedback_read=len(pieces),
        feedback_used=len(selected),
        users={side: len({row.user_id for row in placed[side]}) for side in placed},
        conversations={side: len({row.conversation_id for row in placed[side]}) for side in placed},
        dropped={reason: count for reason, count in sorted(dropped.items()) if count},
        redacted=dict(sorted(redacted.items())),
        split_by=config.split_by,
        cutoff=split.cutoff,
        last=max((piece.created_at for piece in pieces), default=None),
    )
    write_file(out / REPORT, [json.dumps(report.model_dump(mode="json"), ensure_ascii=False, indent=2) + "\n"])
    return report


def _assemble(traces: Traces, selected: Sequence[Feedback], config: FeedbackConfig, dropped: Counter[str], redacted: Counter[str]) -> list[Row]:
    """All rows, conversation by conversation in the order of their first feedback."""
    conversations = traces.conversations_of([piece.receipt for piece in selected])
    by_conversation: dict[str, list[Feedback]] = defaultdict(list)
    for piece in selected:
        by_conversation[conversations[piece.receipt].id].append(piece)
    redactor = Redactor(config)
    tools: dict[str, tuple[ToolSpec, ...]] = {}
    rows: list[Row] = []
    for mine in by_conversation.values():
        dialogue = Dialogue(traces, conversations[mine[0].receipt], tools)
        redaction = redactor.conversation(dialogue.system_prompts())
        assembly = Assembly(dialogue, redaction, config, dropped)
        assembly.add(mine)
        rows += assembly.rows
        redacted.update(redaction.counts)
    return rows


def _split(rows: Sequence[Row], config: FeedbackConfig) -> Split:
    items: list[Item] = []
    for index, row in enumerate(rows):
        known = row.user_id not in config.anonymous_users
        # By the user alone where one is known: a group's side is the hash of its name, and must not change with the next conversation's id.
        group = f"user:{row.user_id}" if known else f"conversation:{row.conversation_id}"
        items.append(Item(key=index, groups=(group,), time=row.time))
    if config.split_by == "time":
        return split_by_time(items, config.evaluation_share)
    return split_by_group(items, config.evaluation_share, config.split_seed)


def _write(out: Path, placed: dict[Side, list[Row]], config: FeedbackConfig, dropped: Counter[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for task in FILES:
        train = _distinct([row for row in placed["train"] if row.task == task], dropped)
        evaluation = _distinct([row for row in placed["evaluation"] if row.task == task], dropped)
        evaluation = _without_near_duplicates(train, evaluation, config, dropped)
        sides: dict[Side, list[Row]] = {"train": train, "evaluation": evaluation}
        for side, rows in sides.items():
            path = task_path(out, side, task)
            if rows:
                counts[f"{side}/{task}"] = write_task(path, (row.example for row in rows))
            else:
                path.unlink(missing_ok=True)
    return counts


def _distinct(rows: Iterable[Row], dropped: Counter[str]) -> list[Row]:
    """The first of equal rows."""
    kept: dict[str, Row] = {}
    for row in rows:
        key = example_key(row.example)
        if key in kept:
            dropped[f"{row.task}: equal to another row"] += 1
        kept.setdefault(key, row)
    return list(kept.values())


def _without_near_duplicates(train: Sequence[Row], evaluation: Sequence[Row], config: FeedbackConfig, dropped: Counter[str]) -> list[Row]:
    """The evaluation rows that training has not nearly seen; training rows all stay, they are the scarcer good."""
    if not train or not evaluation:
        return list(evaluation)
    index = NearDuplicates(config.near_duplicate_similarity or 1.0)
    for number, row in enumerate(train):
        index.add(number, row.text)
    kept = [row for row in evaluation if not index.find(row.text)]
    dropped[f"{evaluation[0].task}: evaluation row nearly the same as a training row"] += len(evaluation) - len(kept)
    return kept
