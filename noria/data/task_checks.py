"""What would make a tuned model worse than it looks, found before any work: labels never seen, broken tags, empty texts, rows in both files.

In: the two files of a task with their rows. Out: nothing, the first fault as one sentence with its line, or, of rows in both files, how many.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noria.data.examples import AnswerExample, ChatExample, ClassifyExample, EmbedExample, Example, ScoreExample, TagExample, Task, TextPairExample
from noria.data.tag_schemes import Scheme, first_break, scheme_of
from noria.data.tasks import numbered_rows
from noria.errors import DataError

OUT_OF_SCOPE = "out_of_scope"
"""The label of a text that has none; rows of it in an evaluation file alone calibrate when a classifier says so."""
_EMPTY = "field `{}` is empty. Fill it, or remove the row."


@dataclass(frozen=True, kw_only=True)
class TaskFile:
    """A file whose rows have what is right beside what is asked."""

    path: Path
    rows: Mapping[int, Example]
    """By the line they stand in."""

    @property
    def places(self) -> list[str]:
        """Where each row stands, in the words of a message."""
        return [self._place(line) for line in self.rows]

    def fault(self, line: int, sentence: str) -> DataError:
        return DataError(f"{self._place(line)}: {sentence}")

    def _place(self, line: int) -> str:
        return f"'{self.path}' line {line}"


def read_file(path: Path, task: Task) -> TaskFile:
    """The rows of a file to learn from or to measure by. Raises DataError at the first that is empty or without its answer."""
    file = TaskFile(path=path, rows=dict(numbered_rows(path, task)))
    check_asked(file, task)
    for line, row in file.rows.items():
        if field := _empty_answer(row):
            raise file.fault(line, _EMPTY.format(field))
        missing = _missing_field(row)
        if missing:
            raise file.fault(line, f"field `{missing}` is missing; a row to learn from or to measure by needs it.")
    if task == "tag":
        check_tags(file, scheme_in(file))
    return file


def check_asked(file: TaskFile, task: Task) -> None:
    """Refuse a file without rows, and a row in which nothing is asked. Raises DataError."""
    if not file.rows:
        raise DataError(f"'{file.path}' has no rows; a {task} file has one JSON object a line.")
    for line, row in file.rows.items():
        if field := _empty_question(row):
            raise file.fault(line, _EMPTY.format(field))


def check_pair(train: TaskFile, held_out: TaskFile, out_of_scope: bool | None = None) -> None:
    """Refuse a training file of one class, and what an evaluation file has that it cannot teach: other labels, another kind of label, other tags.

    Args:
        out_of_scope: as in `TaskConfig`; whether a text may have none of the labels, None: where only the evaluation file has such rows.

    Raises:
        DataError: the first such row, with its line; or the file that has one class only.
    """
    known = {name for row in train.rows.values() for name in names_of(row)}
    several = first_list(train) is not None
    _check_told_apart(train, known, several)
    check_labels(held_out, several, f"'{train.path}'")
    if out_of_scope is True:
        _check_in_scope(train, several)
    if not several and out_of_scope is not False:
        known.add(OUT_OF_SCOPE)
    if any(isinstance(row, TagExample) for row in train.rows.values()):
        known.add("O")
        check_tags(held_out, scheme_in(train))
        if not any(tag != "O" for row in held_out.rows.values() for tag in names_of(row)):
            raise DataError(f"'{held_out.path}' has no tag but 'O': nothing can be chosen by it. Add rows with other tags.")
    for line, row in held_out.rows.items():
        strange = next((name for name in names_of(row) if name not in known), None)
        if strange is not None:
            raise held_out.fault(line, f"the label {strange!r} is in no row of '{train.path}'. {_remedy(strange, several)}")


def _check_told_apart(train: TaskFile, known: set[str], several: bool) -> None:
    """Labels are told apart from one another, any number of them and tags from there being none."""
    first = next(iter(train.rows.values()))
    if isinstance(first, ClassifyExample) and len(known) < (1 if several else 2):
        only = "no label" if not known else f"one label only, {next(iter(known))!r}"
        raise DataError(f"'{train.path}' has {only}: there is nothing to tell apart. Add rows of other labels.")
    if isinstance(first, TagExample) and not known - {"O"}:
        raise DataError(f"'{train.path}' has no tag but 'O': there is nothing to learn. Add rows with other tags.")


def _check_in_scope(train: TaskFile, several: bool) -> None:
    """Where a threshold is to say that no label fits, `out_of_scope` is none of the labels that are learnt."""
    for line, row in train.rows.items():
        if several:
            raise train.fault(line, "`out_of_scope=true` is for rows with one label; a row with a list may have none. Leave the setting out.")
        if OUT_OF_SCOPE in names_of(row):
            raise train.fault(line, f"the label {OUT_OF_SCOPE!r} is learnt here, but `out_of_scope=true` finds it by a threshold. Do one of both.")


def _remedy(label: str, several: bool) -> str:
    if label == OUT_OF_SCOPE and several:
        return "Give an empty list to rows that have no label."
    if label == OUT_OF_SCOPE:
        return "Leave `out_of_scope=false` out, or remove the row."
    return "Add rows of it there, or remove it here."


def first_list(file: TaskFile) -> int | None:
    """The first line whose label is a list; one is enough for rows to have any number of labels, a text among lists is a list of one."""
    return next((line for line, row in file.rows.items() if isinstance(row, ClassifyExample) and not isinstance(row.label, str)), None)


def check_labels(file: TaskFile, several: bool, other: str) -> None:
    """Refuse a file whose rows have one label where `other` (a file or a model) has any number of them, or the other way round. Raises DataError."""
    line = first_list(file)
    if line is not None and not several:
        raise file.fault(line, f"`label` is a list, but {other} has one label a row. Write a text.")
    if line is None and several:
        raise file.fault(next(iter(file.rows)), f"`label` is a text, but {other} has lists of labels. Write lists.")


def names_of(row: Example) -> Sequence[str]:
    """The labels or tags of a row."""
    if isinstance(row, ClassifyExample):
        return [row.label] if isinstance(row.label, str) else list(row.label or ())
    return list(row.tags or ()) if isinstance(row, TagExample) else []


def question_of(row: Example) -> str:
    """What a row asks, without what is right and in small letters: rows that ask the same are the same."""
    return "\x00".join(_asked(row)).casefold()


def _asked(row: Example) -> Sequence[str]:
    if isinstance(row, ClassifyExample | ScoreExample):
        return [row.text, row.text_pair or ""]
    if isinstance(row, TagExample):
        return row.tokens
    if isinstance(row, AnswerExample):
        return [row.question, row.context]
    if isinstance(row, ChatExample):
        return [message.content for message in row.messages if message.role != "assistant"]
    return [row.text] if isinstance(row, TextPairExample | EmbedExample) else [repr(row)]


def in_both(train: TaskFile, held_out: TaskFile) -> list[int]:
    """Lines of the training file whose rows ask what a row of the evaluation file asks."""
    asked = {question_of(row) for row in held_out.rows.values()}
    return [line for line, row in train.rows.items() if question_of(row) in asked]


def scheme_in(file: TaskFile) -> Scheme:
    """The scheme of a file's tags."""
    return scheme_of(tag for row in file.rows.values() for tag in names_of(row))


def check_tags(file: TaskFile, scheme: Scheme) -> None:
    """Refuse tags that a scheme does not allow where they stand. Raises DataError."""
    for line, row in file.rows.items():
        tags = names_of(row)
        at = first_break(tags, scheme)
        if at is None:
            continue
        if at == len(tags):
            raise file.fault(line, f"the last tag is {tags[-1]!r}, but in {scheme} what is begun must end. Correct the tags.")
        before = f"after {tags[at - 1]!r}" if at else "at the beginning"
        raise file.fault(line, f"`tags[{at}]` is {tags[at]!r} {before}, which {scheme} does not allow. Correct the tags.")


def _empty_question(row: Example) -> str | None:
    if isinstance(row, ChatExample):
        users = (index for index, message in enumerate(row.messages) if message.role == "user")
        return next((f"messages[{index}].content" for index in users if _says_nothing(row, index)), None)
    if isinstance(row, TagExample):  # white space is a token of some Chinese sets
        return next((f"tokens[{index}]" for index, token in enumerate(row.tokens) if not token), None)
    return _blank({name: getattr(row, name, None) for name in ("text", "text_pair", "question", "context")})


def _empty_answer(row: Example) -> str | None:
    if isinstance(row, ChatExample):
        learnt = (index for index, message in enumerate(row.messages) if message.role == "assistant" and row.train[index])
        return next((f"messages[{index}].content" for index in learnt if _says_nothing(row, index)), None)
    fields = {name: getattr(row, name, None) for name in ("target", "label", "positive")}
    if isinstance(row, ClassifyExample) and not isinstance(row.label, str):
        fields |= {f"label[{index}]": name for index, name in enumerate(row.label or ())}
    if isinstance(row, EmbedExample):
        fields |= {f"negatives[{index}]": text for index, text in enumerate(row.negatives)}
    return _blank(fields)


def _blank(fields: Mapping[str, Any]) -> str | None:
    return next((name for name, value in fields.items() if isinstance(value, str) and not value.strip()), None)


def _says_nothing(row: ChatExample, index: int) -> bool:
    """Whether a message neither says nor calls anything."""
    message = row.messages[index]
    return not message.content.strip() and not message.tool_calls


def _missing_field(row: Example) -> str | None:
    fields: dict[type[Example], str] = {
        ClassifyExample: "label",
        ScoreExample: "score",
        EmbedExample: "positive",
        TagExample: "tags",
        AnswerExample: "answers",
        TextPairExample: "target",
    }
    name = fields.get(type(row))
    return name if name is not None and getattr(row, name) is None else None
