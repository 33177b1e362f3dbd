"""`noria evaluate --judge`: two models answer the same requests, and a third model, and people on sheets, say whose answers are better.

In: a chat task file, or rows to summarize or rewrite. Out: a report with wins, losses, ties and a paired test; how often the judge says the same in
both orders; and of filled sheets how far people agree with one another and with the judge. Answers are kept in `NAME.pairs.jsonl` beside the report,
verdicts in `NAME.verdicts.jsonl`: a killed run goes on behind the last whole one, and the same command with filled sheets asks nobody again.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, TypeVar, cast

from noria.data import Task
from noria.data.examples import WritingTask
from noria.data.task_checks import TaskFile, read_file
from noria.errors import ConfigError, ContextOverflowError, DataError, ModelError
from noria.evaluate.judge import Judged, Pair, Side, agreement, consistency, judged, majority, verdict
from noria.evaluate.lengths import too_long
from noria.evaluate.sheets import read_sheet, write_sheet
from noria.evaluate.suites import Item, chat_suite
from noria.lifecycle.measure import Say, check_comparable, check_report, find_model, opened_model, release_id, write_report
from noria.lifecycle.seen import seen_by
from noria.lifecycle.standing import group_of
from noria.lifecycle.trial import Progress
from noria.schema import GenerationRequest, Generator, Message
from noria.store import file_hash
from noria.store.kept_lines import keeping_lines, kept_lines

TASKS = ("chat", "summarize", "rewrite")
CONCURRENCY, MAX_ANSWER_TOKENS = 8, 512
R = TypeVar("R", Pair, Judged)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What is asked for."""

    model: str
    against: str
    judge: str | None
    """None: people alone judge."""
    task: str
    data: Path


def judge_pairs(
    project: Path | None, asked: Comparison, out: Path, sheet: Path | None, filled: Sequence[Path], progress: Progress, say: Say
) -> dict[str, Any]:
    """Let both models answer, the judge compare, and report; `sheet` gets an empty sheet, `filled` are sheets that people filled.

    Raises:
        ConfigError: a task without free answers, no such model, an `out` that is named as a page or would be written over another file that is
            given, or an `out` or `sheet` of another comparison.
        DataError: `data` or a sheet breaks its format.
    """
    if asked.task not in TASKS:
        raise ConfigError(f"`--judge` and sheets are for the tasks {', '.join(TASKS)}; what is right of {asked.task!r} is known without.")
    given = {"--data": [asked.data], "--sheet": [] if sheet is None else [sheet], "--filled": filled}
    check_report(out, given, (_pairs_path(out), _verdicts_path(out)))
    file = read_file(asked.data, cast(Task, asked.task))
    items = _items(asked.task, file)
    check_comparable(asked.data, [item.group or item.id for item in items])
    known = seen_by(asked.model, asked.against, file, cast(Task, asked.task), say)
    named = {name: identity(project, name) for name in (asked.model, asked.against, *([] if asked.judge is None else [asked.judge]))}
    answers = {"models": [named[asked.model], named[asked.against]], "task": asked.task, "data": file_hash(asked.data)}
    kept = _Kept(_pairs_path(out), answers, progress, "answering", "answers of both models", say)
    pairs = kept.all(Pair, items, lambda stack: _answering(stack, project, asked))
    filled_in = [read_sheet(path, pairs) for path in filled]
    most = majority(filled_in)
    if filled_in:
        check_comparable(filled[0], [pair.group for pair in pairs if pair.id in most])
    if sheet is not None:
        write_sheet(pairs, sheet)
        say(f"'{sheet}' is for people: `better` takes first, second or tie. Give it back with `--filled`.")
    report: dict[str, Any] = {"task": asked.task, "model": asked.model, "against": asked.against, "data": str(asked.data), "n": len(pairs)}
    report |= {**known, "cut": sum(pair.num_cut > 0 for pair in pairs)}
    if report["cut"]:
        say(f"{report['cut']} of {len(pairs)} pairs hold an answer that {MAX_ANSWER_TOKENS} tokens did not suffice for; it is judged so.")
    found: list[Judged] = []
    if (judge := asked.judge) is not None:
        verdicts = {"judge": named[judge], "pairs": file_hash(kept.path)}
        judging = _Kept(_verdicts_path(out), verdicts, progress, "judging", "verdicts of the judge", say)
        found = judging.all(Judged, pairs, lambda stack: partial(_told, stack.enter_context(opened_model(project, judge))[0]))
        report["judge"] = {"model": judge, **verdict(pairs, {one.id: one.better for one in found}), "consistency": consistency(found)}
        report["judge"] |= {"unread": sum(None in one.orders for one in found), "unasked": sum(not one.asked for one in found)}
    if filled_in:
        report["people"] = _people(pairs, filled_in, most, found)
    write_report(report, out)
    return report


def _pairs_path(out: Path) -> Path:
    return out.with_suffix(".pairs.jsonl")


def _verdicts_path(out: Path) -> Path:
    return out.with_suffix(".verdicts.jsonl")


def _people(pairs: Sequence[Pair], sheets: Sequence[Mapping[str, Side]], most: Mapping[str, Side], found: Sequence[Judged]) -> dict[str, Any]:
    """What most people said, how far they agree, and how far the judge agrees with most of them."""
    told: dict[str, Any] = {"sheets": len(sheets), **verdict(pairs, most)}
    if len(sheets) > 1:
        each = [agreement(one, other) for one, other in combinations(sheets, 2)]
        known = [one for one in each if one["n"]]
        told["agreement"] = {name: sum(one[name] for one in known) / len(known) for name in ("same", "kappa")} if known else None
    with_judge = agreement({one.id: one.better for one in found if one.asked}, most)
    if with_judge["n"]:
        told["agreement_with_judge"] = with_judge
    return told


def _items(task: str, file: TaskFile) -> list[Item]:
    """What is asked: replies of conversations (not calls), or texts with an instruction; what a model was tuned with is its own affair."""
    if task == "chat":
        suite = chat_suite(file.path, file.path.stem)
        found = [item for item in suite.items if "reply" in item.expect]
        if not found:
            raise ConfigError(f"'{file.path}' has tool calls alone to be judged; measure them with `--task tools`.")
        return found
    from noria.lifecycle.adapt_writing import Writing  # imports torch

    writing = Writing.of(cast(WritingTask, task), list(file.rows.values()))
    return [Item(id=str(line), kind="score", messages=writing.asked(row), group=group_of(row, str(line))) for line, row in file.rows.items()]


def _answering(stack: ExitStack, project: Path | None, asked: Comparison) -> Callable[[Item], Pair]:
    """What lets both models answer an item."""
    sides = [stack.enter_context(opened_model(project, name)) for name in (asked.model, asked.against)]

    def made(item: Item) -> Pair:
        with _at(f"'{asked.data}' item {item.id}"):
            first, second = (generator.generate(_whole(request_of(item))) for generator, request_of in sides)
        num_cut = sum(one.finish_reason == "length" for one in (first, second))
        texts = [_text(one.message) for one in (first, second)]
        return Pair(id=item.id, group=item.group or item.id, request=_asked_text(item), model=texts[0], against=texts[1], num_cut=num_cut)

    return made


def _told(judge: Generator, pair: Pair) -> Judged:
    with _at(f"Item {pair.id}"):
        return judged(judge, pair)


@contextmanager
def _at(place: str) -> Iterator[None]:
    """Name the item in what goes wrong with it."""
    try:
        yield
    except ContextOverflowError as error:
        raise too_long(place, error) from error
    except (ModelError, DataError) as error:
        raise type(error)(f"{place}: {error}") from error


@dataclass(frozen=True)
class _Kept:
    """Records kept one by one in a file whose first line says what they are of."""

    path: Path
    request: Mapping[str, Any]
    progress: Progress
    stage: str
    what: str
    say: Say

    def all(self, kind: type[R], items: Sequence[Item] | Sequence[Pair], opened: Callable[[ExitStack], Callable[[Any], R]]) -> list[R]:
        """One of each item: as the file has them, as far as it goes, and then made many at once and written in order."""
        found = self._read(kind, items)
        if found:  # a URL is known by no more than its name: what its server says may have changed
            self.say(f"{len(found)} of {len(items)} {self.what} were kept in '{self.path}' and are used. Give another `--out` to ask anew.")
        with ExitStack() as stack:
            append = stack.enter_context(keeping_lines(self.path, self.request, (one.model_dump(mode="json") for one in found)))
            rest = items[len(found) :]
            if not rest:
                return found
            made = opened(stack)
            pool = stack.enter_context(ThreadPoolExecutor(CONCURRENCY))
            stack.callback(pool.shutdown, wait=False, cancel_futures=True)
            for one in pool.map(made, rest):
                append(one.model_dump(mode="json"))
                found.append(one)
                self.progress(self.stage, len(found), len(items))
        return found

    def _read(self, kind: type[R], items: Sequence[Item] | Sequence[Pair]) -> list[R]:
        """What an earlier call kept, as far as it is whole. Raises ConfigError where the file is of another comparison, or of something else."""
        kept = kept_lines(self.path, self.request)
        if kept is None:
            changed = "holds something else, is of another comparison, or a model or the data have changed since"
            raise ConfigError(f"'{self.path}' {changed}. Give another `--out`.")
        found: list[R] = []
        for value, item in zip(kept, items, strict=False):
            try:
                one = kind.model_validate(value)
            except ValueError:  # a power cut may leave anything; what was read before it is whole
                break
            if one.id != item.id:
                break
            found.append(one)
        return found


def identity(project: Path | None, name: str) -> list[Any]:
    """What says that a model is the same as before: a release's id, the files of a folder, or no more than a name. Raises as `find_model`."""
    find_model(project, name)
    release = release_id(project, name)
    if release is not None:
        return [release]
    path = Path(name)
    files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path] if path.is_file() else []
    return [name, *([str(one.relative_to(path)), one.stat().st_size, one.stat().st_mtime_ns] for one in files)]


def _whole(request: GenerationRequest) -> GenerationRequest:
    """The request with room for a whole answer."""
    return request.model_copy(update={"max_tokens": MAX_ANSWER_TOKENS})


def _text(message: Message) -> str:
    """An answer to be read: what it says, and each call as its name and arguments."""
    calls = (f"{call.name}({json.dumps(call.arguments, ensure_ascii=False)})" for call in message.tool_calls)
    return "\n".join(part for part in (message.content, *calls) if part)


def _asked_text(item: Item) -> str:
    """The conversation up to the answer, to be read by a judge."""
    if len(item.messages) == 1:
        return item.messages[0].content
    return "\n".join(f"{message.role}: {_text(message)}" for message in item.messages if message.role != "system")
