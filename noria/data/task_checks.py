"""What would make a tuned model worse than it looks, found before any work: labels never seen, broken tags, empty texts, rows in both files.

In: the two files of a task with their rows. Out: nothing, the first fault as one sentence with its line, or, of rows in both files, how many.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from noria.data.examples import AnswerExample, ChatExample, ClassifyExample, Example, TagExample, Task, TextPairExample
from noria.data.tag_schemes import first_break, scheme_of
from noria.data.tasks import numbered_rows
from noria.errors import DataError

OUT_OF_SCOPE = "out_of_scope"
"""The label of a text that has none; rows of it in an evaluation file alone calibrate when a classifier says so."""


@dataclass(frozen=True, kw_only=True)
class TaskFile:
    """A file whose rows have what is right beside what is asked."""

    path: Path
    rows: Mapping[int, Example]
    """By the line they stand in."""

    def fault(self, line: int, sentence: str) -> DataError:
        return DataError(f"'{self.path}' line {line}: {sentence}")


def read_file(path: Path, task: Task) -> TaskFile:
    """The rows of a file to learn from or to measure by. Raises DataError at the first that is empty or without its answer."""
    file = TaskFile(path=path, rows=dict(numbered_rows(path, task)))
    if not file.rows:
        raise DataError(f"'{path}' has no rows; a {task} file has one JSON object a line.")
    for line, row in file.rows.items():
        field = _empty_field(row)
        if field:
            raise file.fault(line, f"field `{field}` is empty. Fill it, or remove the row.")
        missing = _missing_field(row)
        if missing:
            raise file.fault(line, f"field `{missing}` is missing; a row to learn from or to measure by needs it.")
    if task == "tag":
        _check_tags(file)
    return file


def check_pair(train: TaskFile, held_out: TaskFile) -> None:
    """Refuse labels and tags that only the evaluation file has. Raises DataError."""
    known = {name for row in train.rows.values() for name in names_of(row)} | {OUT_OF_SCOPE}
    for line, row in held_out.rows.items():
        strange = next((name for name in names_of(row) if name not in known), None)
        if strange is not None:
            raise held_out.fault(line, f"the label {strange!r} is in no row of '{train.path}'. Add rows of it there, or remove it here.")


def names_of(row: Example) -> Sequence[str]:
    """The labels or tags of a row."""
    if isinstance(row, ClassifyExample):
        return [row.label] if isinstance(row.label, str) else list(row.label or ())
    return list(row.tags or ()) if isinstance(row, TagExample) else []


def question_of(row: Example) -> str:
    """What a row asks, without what is right: rows that ask the same are the same."""
    if isinstance(row, ClassifyExample):
        return f"{row.text}\x00{row.text_pair or ''}".casefold()
    if isinstance(row, TagExample):
        return "\x00".join(row.tokens)
    if isinstance(row, AnswerExample):
        return f"{row.question}\x00{row.context}"
    if isinstance(row, ChatExample):
        return repr(row.messages)
    return row.text if isinstance(row, TextPairExample) else repr(row)


def in_both(train: TaskFile, held_out: TaskFile) -> list[int]:
    """Lines of the training file whose rows ask what a row of the evaluation file asks."""
    asked = {question_of(row) for row in held_out.rows.values()}
    return [line for line, row in train.rows.items() if question_of(row) in asked]


def _check_tags(file: TaskFile) -> None:
    scheme = scheme_of(tag for row in file.rows.values() for tag in names_of(row))
    for line, row in file.rows.items():
        tags = names_of(row)
        at = first_break(tags, scheme)
        if at is None:
            continue
        if at == len(tags):
            raise file.fault(line, f"the last tag is {tags[-1]!r}, but in {scheme} what is begun must end. Correct the tags.")
        before = f"after {tags[at - 1]!r}" if at else "at the beginning"
        raise file.fault(line, f"`tags[{at}]` is {tags[at]!r} {before}, which {scheme} does not allow. Correct the tags.")


def _empty_field(row: Example) -> str | None:
    fields = {"text": getattr(row, "text", None), "question": getattr(row, "question", None), "context": getattr(row, "context", None)}
    return next((name for name, value in fields.items() if isinstance(value, str) and not value.strip()), None)


def _missing_field(row: Example) -> str | None:
    fields: dict[type[Example], str] = {ClassifyExample: "label", TagExample: "tags", AnswerExample: "answers", TextPairExample: "target"}
    name = fields.get(type(row))
    return name if name is not None and getattr(row, name) is None else None
