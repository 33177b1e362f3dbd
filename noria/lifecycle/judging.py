"""`noria evaluate --judge`: two models answer the same requests, and a third model, and people on sheets, say whose answers are better.

In: a chat task file, or rows to summarize or rewrite. Out: a report with wins, losses, ties and a paired test; how often the judge says the same in
both orders; and of filled sheets how far people agree with one another and with the judge. Answers and verdicts are kept in `NAME.pairs.jsonl` beside
the report: a killed run goes on behind the last whole one, and the same command with filled sheets asks nobody again.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, cast

from noria.data import TextPairExample
from noria.data.task_checks import read_file
from noria.errors import ConfigError
from noria.evaluate.judge import Judged, Pair, agreement, consistency, judged, majority, verdict
from noria.evaluate.sheets import read_sheet, write_sheet
from noria.evaluate.suites import Item, chat_suite
from noria.lifecycle.measure import Say, check_comparable, find_model, opened_model, write_report
from noria.lifecycle.trial import Progress
from noria.schema import GenerationRequest, Message
from noria.store import file_hash, write_file
from noria.store.files import disk_errors

TASKS = ("chat", "summarize", "rewrite")
CONCURRENCY, MAX_ANSWER_TOKENS = 8, 512


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What is asked for."""

    model: str
    against: str
    judge: str | None
    """None: people alone judge."""
    task: str
    data: Path

    def request(self) -> dict[str, Any]:
        """What says that answers kept beside a report are of this comparison."""
        named = {name: self._told(name) for name in (self.model, self.against, *([] if self.judge is None else [self.judge]))}
        return {"models": named, "order": [self.model, self.against, self.judge], "task": self.task, "data": file_hash(self.data)}

    def _told(self, name: str) -> str | None:
        """A folder that was tuned again since is another model."""
        made = Path(name) / "tuned.json"
        return file_hash(made) if made.is_file() else None


def judge_pairs(
    project: Path | None, asked: Comparison, out: Path, sheet: Path | None, filled: Sequence[Path], progress: Progress, say: Say
) -> dict[str, Any]:
    """Let both models answer, the judge compare, and report; `sheet` gets an empty sheet, `filled` are sheets that people filled.

    Raises:
        ConfigError: a task without free answers, or no such model.
        DataError: `data` or a sheet breaks its format.
    """
    if asked.task not in TASKS:
        raise ConfigError(f"`--judge` and sheets are for the tasks {', '.join(TASKS)}; what is right of {asked.task!r} is known without.")
    items = _items(asked.task, asked.data)
    check_comparable(asked.data, [item.group or item.id for item in items])
    for name in (asked.model, asked.against, *([] if asked.judge is None else [asked.judge])):
        find_model(project, name)
    rows = list(_kept_or_made(project, asked, items, out.with_suffix(".pairs.jsonl"), progress))
    pairs, found = [pair for pair, _ in rows], [one for _, one in rows if one is not None]
    if sheet is not None:
        write_sheet(pairs, sheet)
        say(f"'{sheet}' is for people: `better` takes first, second or tie. Give it back with `--filled`.")
    report: dict[str, Any] = {"task": asked.task, "model": asked.model, "against": asked.against, "data": str(asked.data), "n": len(pairs)}
    if found:
        better = {one.id: one.better for one in found}
        report["judge"] = {"model": asked.judge, **verdict(pairs, better), "consistency": consistency(found)}
        report["judge"]["unread"] = sum(None in one.orders for one in found)
    if filled:
        report["people"] = _people(pairs, filled, found)
    write_report(report, out)
    return report


def _people(pairs: Sequence[Pair], filled: Sequence[Path], found: Sequence[Judged]) -> dict[str, Any]:
    """What people said, how far they agree, and how far the judge agrees with most of them."""
    sheets = [read_sheet(path, pairs) for path in filled]
    most = majority(sheets)
    check_comparable(filled[0], [pair.group for pair in pairs if pair.id in most])
    told: dict[str, Any] = {"sheets": len(sheets), **verdict(pairs, most)}
    if len(sheets) > 1:
        each = [agreement(one, other) for one, other in combinations(sheets, 2)]
        known = [one for one in each if one["n"]]
        told["agreement"] = {name: sum(one[name] for one in known) / len(known) for name in ("same", "kappa")} if known else None
    if found:
        told["agreement_with_judge"] = agreement({one.id: one.better for one in found}, most)
    return told


def _items(task: str, data: Path) -> list[Item]:
    """What is asked: replies of conversations (not calls), or texts with an instruction; what a model was tuned with is its own affair."""
    if task == "chat":
        suite = chat_suite(data, data.stem)
        found = [item for item in suite.items if "reply" in item.expect]
        if not found:
            raise ConfigError(f"'{data}' has tool calls alone to be judged; measure them with `--task tools`.")
        return found
    from noria.lifecycle.adapt_writing import Writing, WritingTask  # imports torch

    rows = read_file(data, cast(Any, task)).rows
    writing = Writing.of(cast(WritingTask, task), list(rows.values()))
    return [Item(id=str(line), kind="score", messages=writing.asked(cast(TextPairExample, row))) for line, row in rows.items()]


def _kept_or_made(
    project: Path | None, asked: Comparison, items: Sequence[Item], path: Path, progress: Progress
) -> Iterator[tuple[Pair, Judged | None]]:
    """Each pair with its verdict, from the file as far as it goes, then made and written there one by one."""
    request = asked.request()
    kept = _kept(path, request, items)
    yield from kept
    write_file(path, [_line(request), *(_line(_told(*one)) for one in kept)])
    rest = items[len(kept) :]
    if not rest:
        return
    with ExitStack() as stack:
        model, against = (stack.enter_context(opened_model(project, name)) for name in (asked.model, asked.against))
        judge = None if asked.judge is None else stack.enter_context(opened_model(project, asked.judge))[0]

        def made(item: Item) -> tuple[Pair, Judged | None]:
            first, second = (_answer(generator.generate(_whole(request_of(item))).message) for generator, request_of in (model, against))
            pair = Pair(id=item.id, group=item.group or item.id, request=_asked_text(item), model=first, against=second)
            return pair, None if judge is None else judged(judge, pair)

        pool = stack.enter_context(ThreadPoolExecutor(CONCURRENCY))
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        with disk_errors(path):
            file = stack.enter_context(path.open("a", encoding="utf-8", newline="\n"))
        for number, one in enumerate(pool.map(made, rest), len(kept) + 1):
            with disk_errors(path):
                file.write(_line(_told(*one)))
                file.flush()
            progress("judging", number, len(items))
            yield one


def _kept(path: Path, request: Mapping[str, Any], items: Sequence[Item]) -> list[tuple[Pair, Judged | None]]:
    """What an earlier call of the same comparison kept, as far as it is whole and in the order of the items."""
    if not path.is_file():
        return []
    with disk_errors(path):
        lines = path.read_bytes().split(b"\n")[:-1]  # a line without an end was cut by a kill
    found: list[tuple[Pair, Judged | None]] = []
    try:
        if not lines or json.loads(lines[0]) != json.loads(_line(request)):
            return []
        for line, item in zip(lines[1:], items, strict=False):
            told = json.loads(line)
            pair = Pair.model_validate(told["pair"])
            if pair.id != item.id:
                break
            found.append((pair, None if told["judged"] is None else Judged.model_validate(told["judged"])))
    except (ValueError, KeyError, TypeError):  # a power cut may leave anything; what was read before it is whole
        return found
    return found


def _told(pair: Pair, one: Judged | None) -> dict[str, Any]:
    return {"pair": pair.model_dump(mode="json"), "judged": None if one is None else one.model_dump(mode="json")}


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"


def _whole(request: GenerationRequest) -> GenerationRequest:
    """The request with room for a whole answer."""
    return request.model_copy(update={"max_tokens": MAX_ANSWER_TOKENS})


def _answer(message: Message) -> str:
    """An answer to be read: a call as its name and arguments."""
    return message.content or "\n".join(f"{call.name}({json.dumps(call.arguments, ensure_ascii=False)})" for call in message.tool_calls)


def _asked_text(item: Item) -> str:
    """The conversation up to the answer, to be read by a judge."""
    if len(item.messages) == 1:
        return item.messages[0].content
    return "\n".join(f"{message.role}: {_answer(message)}" for message in item.messages if message.role != "system")
