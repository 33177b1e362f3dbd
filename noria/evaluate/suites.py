"""Suites: what an agent must be able to decide or say, as JSONL, and what came out when a generator was asked.

In: `NAME.jsonl` of a project's `evals/`, or the held-out decisions of an exported dataset. Each line is one object:

    {"id", "kind": "decision", "messages": [...], "tools"?: [...], "expect": {"tool_calls": [{"name", "arguments"}]}}
    {"id", "kind": "decision", "messages": [...], "expect": {"reply": {"contains": [...], "not_contains": [...], "not_call": [...] | true}}}
    {"id", "kind": "score", "messages": [...], "reference": "...", "metric"?: "token_f1"}

Messages and tools are in the OpenAI format; without `tools` the project's own are offered. `today` (a date) is the day the conversation
takes place; without it `DEFAULT_DAY`. `chat_suite` makes one item of each trained-on message of a chat task file; of `chat` a reply is worth its
overlap with the one that is there, of `tools` it is enough that it is no call.

Out: a `SuiteRun`, one `ItemResult` an item, kept line by line in a results file so that a killed run goes on where it was. A run that lacks an
item is incomplete, and the gate refuses it.
Episodes of an environment are run by `lifecycle.episodes` and arrive here as finished results.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import date
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal, Self, get_args

from noria.data import Example, conversation_of, read_chat, read_objects
from noria.errors import ContextOverflowError, DataError
from noria.evaluate.lengths import tokens_for, too_long
from noria.evaluate.metrics import TextMetric, exact_calls, named_calls, reply_matches, text_score
from noria.schema import Generation, GenerationRequest, Generator, Message, ToolSpec, canonical_json
from noria.schema.messages import Record

ItemKind = Literal["decision", "score"]
SuiteKind = Literal["pass", "score"]
ChatTask = Literal["chat", "tools"]
Progress = Callable[[int, int], None]
"""Called with items done and items in all."""
CONCURRENCY = 16
MAX_ANSWER_TOKENS, MAX_REPLY_TOKENS = 160, 512
FIRST_TOKENS = 4
"""Enough of an answer to see whether it is a call, where nothing else is asked of it: a call begins with a brace, a reply never does."""
REPLY_CHARACTERS = 16
"""So much text that does not begin like a call is a reply."""
CALL_STARTS = "{[<"
"""With what the text of a tool call begins, in our rendering and in that of models with a template of their own."""
DEFAULT_DAY = date(2026, 3, 2)
"""A Monday; the day of items that name none, so that a suite gives the same answers every day."""


class Item(Record):
    """One question to the model and what a right answer is."""

    id: str
    kind: ItemKind
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] | None = None
    expect: dict[str, Any] = {}
    reference: str = ""
    """The text a good answer resembles; of a decision, the reply that is right. Empty where nothing is compared with one."""
    metric: TextMetric = "token_f1"
    today: date = DEFAULT_DAY
    group: str = ""
    """The conversation it comes from: items of one are not independent of each other. Empty where it stands for itself."""


class Suite(Record):
    """Items of one kind under one name."""

    name: str
    items: tuple[Item, ...]

    @property
    def kind(self) -> SuiteKind:
        return "score" if any(item.reference for item in self.items) else "pass"


class ItemResult(Record):
    """What came out for one item; `value` is what releases are compared on: 1 or 0, or a score where higher is better."""

    id: str
    value: float
    metrics: dict[str, float] = {}
    answer: dict[str, Any] = {}
    seconds: float = 0.0
    num_tokens: int = 0


class SuiteRun(Record):
    """The results of one release on one suite."""

    suite: str
    kind: SuiteKind
    expected_ids: tuple[str, ...]
    results: tuple[ItemResult, ...]
    groups: tuple[str, ...] = ()
    """The conversation of each expected item; empty where each stands for itself."""

    @classmethod
    def of(cls, suite: "Suite", results: Sequence[ItemResult]) -> "SuiteRun":
        ids = tuple(item.id for item in suite.items)
        groups = tuple(item.group or item.id for item in suite.items)
        return cls(suite=suite.name, kind=suite.kind, expected_ids=ids, results=tuple(results), groups=groups)

    @property
    def complete(self) -> bool:
        return len(self.expected_ids) > 0 and sorted(r.id for r in self.results) == sorted(self.expected_ids)

    @property
    def mean(self) -> float:
        return sum(r.value for r in self.results) / len(self.results) if self.results else float("nan")

    def metric(self, name: str) -> float | None:
        """Mean of a metric over the items that have it; None when none has."""
        values = [r.metrics[name] for r in self.results if name in r.metrics]
        return sum(values) / len(values) if values else None


def load_suite(path: Path) -> Suite:
    """Read and check a suite. Raises DataError naming file, line, field, value and what is allowed."""
    items = tuple(_checked_item(data, f"'{path}' line {number}") for number, data in read_objects(path))
    return checked_suite(path.stem, items, f"'{path}'")


def checked_suite(name: str, items: Sequence[Item], where: str) -> Suite:
    """A suite whose items have distinct ids and one kind. Raises DataError."""
    if not items:
        raise DataError(f"{where}: the suite has no item; write one JSON object a line, or remove the file.")
    seen: set[str] = set()
    for item in items:
        if item.id in seen:
            raise DataError(f"{where}: `id` {item.id!r} stands there twice; ids of a suite are distinct.")
        seen.add(item.id)
    if len({item.kind for item in items}) > 1:
        raise DataError(f"{where}: a suite holds items of one `kind`; put 'decision' and 'score' items into files of their own.")
    return Suite(name=name, items=tuple(items))


def chat_suite(path: Path, name: str, max_items: int | None = None, task: ChatTask = "tools") -> Suite:
    """One decision item for each message that a chat task file trains on: what came before it asks, the message is the right answer.

    Args:
        max_items: as many of them at most, spread evenly over the file.
        task: what a reply is worth: of `tools` 1 where it is no call, of `chat` its overlap with the message too.

    Raises DataError.
    """
    items: list[Item] = []
    for number, example in enumerate(read_chat(path), 1):
        for index, (message, train) in enumerate(zip(example.messages, example.train, strict=True)):
            if train and index > 0:
                item_id = f"{example.id or number}:{index}"
                before, tools = example.messages[:index], example.tools or None
                group, expect = conversation_of(example, str(number)), expected_decision(message)
                reference = message.content if task == "chat" and "reply" in expect else ""
                today = day_of(example)
                decision = Item(id=item_id, kind="decision", messages=before, tools=tools, expect=expect, group=group, today=today)
                items.append(decision.model_copy(update={"reference": reference}))
    if max_items is not None and len(items) > max_items:
        items = [items[k * len(items) // max_items] for k in range(max_items)]
    return checked_suite(name, items, f"'{path}'")


def day_of(example: Example) -> date:
    """The day a dialogue took place on: `metadata.today`, else `DEFAULT_DAY`. Raises DataError."""
    return _day(example.metadata.get("today"), f"row {example.id!r}, `metadata`")


def _checked_item(data: Mapping[str, Any], where: str) -> Item:
    kind: Any = data.get("kind")
    if kind not in get_args(ItemKind):
        raise DataError(f"{where}: `kind` is {kind!r:.60}; allowed: {', '.join(get_args(ItemKind))}.")
    if not isinstance(data.get("id"), str) or not data["id"]:
        raise DataError(f"{where}: `id` is {data.get('id')!r:.60}; it must be a text that is not empty.")
    allowed = {"id", "kind", "messages", "tools", "today"} | ({"expect"} if kind == "decision" else {"reference", "metric"})
    if unknown := sorted(set(data) - allowed):
        raise DataError(f"{where}: unknown field `{unknown[0]}`; allowed for kind {kind!r}: {', '.join(sorted(allowed))}.")
    if not isinstance(data.get("messages"), list) or not data["messages"]:
        raise DataError(f"{where}: `messages` must be a list of messages that is not empty.")
    try:
        messages = tuple(Message.from_openai(m) for m in data["messages"])
        tools = tuple(ToolSpec.from_openai(t) for t in data["tools"]) if data.get("tools") else None
        for tool in tools or ():
            tool.check_name()
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    item = Item(id=data["id"], kind=kind, messages=messages, tools=tools, today=_day(data.get("today"), where))
    if kind == "decision":
        return item.model_copy(update={"expect": _checked_expect(data.get("expect"), where)})
    reference, metric = data.get("reference"), data.get("metric", "token_f1")
    if not isinstance(reference, str) or not reference.strip():
        raise DataError(f"{where}: `reference` is {reference!r:.60}; it must be the text a good answer resembles.")
    if metric not in get_args(TextMetric):
        raise DataError(f"{where}: `metric` is {metric!r:.60}; allowed: {', '.join(get_args(TextMetric))}.")
    return item.model_copy(update={"reference": reference, "metric": metric})


def _day(value: Any, where: str) -> date:
    if value is None:
        return DEFAULT_DAY
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: `today` is {value!r:.60}; it must be a date such as 2026-03-02.") from error


def _checked_expect(expect: Any, where: str) -> dict[str, Any]:
    if not isinstance(expect, dict) or set(expect) not in ({"tool_calls"}, {"reply"}):
        raise DataError(f"{where}: `expect` must be an object with either `tool_calls` or `reply`, not {expect!r:.60}.")
    if "reply" in expect:
        reply = expect["reply"]
        texts = isinstance(reply, dict) and all(_is_texts(reply.get(key, [])) for key in ("contains", "not_contains"))
        if (
            not texts
            or set(reply) - {"contains", "not_contains", "not_call"}
            or not (reply.get("not_call", True) is True or _is_texts(reply["not_call"]))
        ):
            raise DataError(
                f"{where}: `expect.reply` takes `contains` and `not_contains` (lists of texts) and `not_call` (list of tools, or true), "
                f"not {reply!r:.60}."
            )
        return expect
    calls = expect["tool_calls"]
    if not isinstance(calls, list) or not calls:
        raise DataError(f"{where}: `expect.tool_calls` must be a list of calls that is not empty, not {calls!r:.60}.")
    for call in calls:
        if not isinstance(call, dict) or not isinstance(call.get("name"), str) or not isinstance(call.get("arguments", {}), dict):
            raise DataError(f"{where}: a call in `expect.tool_calls` is {{'name': text, 'arguments': object}}, not {call!r:.60}.")
    return expect


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def expected_decision(message: Message) -> dict[str, Any]:
    """`expect` of an item whose right answer is `message`: its tool calls, or any reply without a call."""
    if message.tool_calls:
        return {"tool_calls": [{"name": c.name, "arguments": c.arguments} for c in message.tool_calls]}
    return {"reply": {"not_call": True}}


def grade(item: Item, generation: Generation) -> ItemResult:
    """What one answer is worth."""
    answer, metrics = generation.message, {}
    if item.kind == "score":
        value = metrics[item.metric] = text_score(item.metric, answer.content, item.reference)
    elif "tool_calls" in item.expect:
        metrics["exact_calls"] = float(exact_calls(answer, item.expect["tool_calls"]))
        metrics["named_calls"] = float(named_calls(answer, item.expect["tool_calls"]))
        value = metrics["exact_calls"]
    else:
        value = metrics["replies"] = float(reply_matches(answer, item.expect["reply"]))
        if item.reference:
            value = metrics[item.metric] = value * text_score(item.metric, answer.content, item.reference)
    return ItemResult(
        id=item.id,
        value=value,
        metrics=metrics,
        answer=answer.to_openai(),
        seconds=generation.seconds,
        num_tokens=generation.num_completion_tokens,
    )


def run_suite(
    suite: Suite,
    generator: Generator,
    *,
    make_request: Callable[[Item], GenerationRequest] | None = None,
    results_path: Path | None = None,
    progress: Progress | None = None,
) -> SuiteRun:
    """Ask `generator` every item, greedily, many at once; results already in `results_path` are not asked again.

    Args:
        make_request: What is asked for an item; by default its own messages and tools.
        results_path: Grows by one line an item, flushed to disk at the end.

    Raises ModelError; DataError for an item that the model's context does not hold.
    """
    done = {r.id: r for r in read_results(results_path)} if results_path else {}
    results = [done[item.id] for item in suite.items if item.id in done]
    todo = in_sharing_order([item for item in suite.items if item.id not in done])
    stopped = threading.Event()

    def answer(item: Item) -> ItemResult | None:
        try:
            return None if stopped.is_set() else grade(item, _asked(item, generator, (make_request or item_request)(item)))
        except ContextOverflowError as error:
            raise too_long(f"Item {item.id!r} of {suite.name!r}", error) from error

    with ThreadPoolExecutor(max_workers=CONCURRENCY) as pool, ResultsFile(results_path) as out:
        futures = [pool.submit(answer, item) for item in todo]
        try:
            for future in as_completed(futures):
                result = future.result()
                assert result is not None
                results.append(result)
                out.write(result)
                if progress:
                    progress(len(results), len(suite.items))
        except BaseException:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return SuiteRun.of(suite, results)


def in_sharing_order(items: Sequence[Item]) -> list[Item]:
    """Items of one dialogue one after another, the longest first, as many dialogues at once as are asked at once.

    An engine that keeps computed prefixes then reads every dialogue once: the shorter prompts are beginnings of the longest.
    """
    dialogues: dict[tuple[str, ...], list[Item]] = {}
    for item in items:
        dialogues.setdefault(tuple(message.hash for message in item.messages[:2]), []).append(item)
    chains = [sorted(chain, key=lambda item: -len(item.messages)) for chain in dialogues.values()]
    ordered: list[Item] = []
    for at in range(0, len(chains), CONCURRENCY):
        rounds = zip_longest(*chains[at : at + CONCURRENCY])
        ordered += [item for together in rounds for item in together if item is not None]
    return ordered


def _asked(item: Item, generator: Generator, request: GenerationRequest) -> Generation:
    """The model's answer, or its beginning where that settles the item: a model that rambles costs no more than one that does not."""
    reply = item.expect.get("reply")
    settled_by_any_reply = reply is None or not (reply.get("contains") or reply.get("not_contains"))
    if item.reference or not settled_by_any_reply:
        return generator.generate(request)
    started, text, num_tokens, first = time.monotonic(), "", 0, 0.0
    stream = generator.stream(request)
    for piece in stream:
        if isinstance(piece, Generation):
            return piece
        text, num_tokens, first = text + piece.text, num_tokens + max(1, len(piece.token_ids)), first or time.monotonic() - started
        if len(text.strip()) >= REPLY_CHARACTERS and text.lstrip()[0] not in CALL_STARTS:
            break
    if (close := getattr(stream, "close", None)) is not None:
        close()
    return Generation(
        message=Message(role="assistant", content=text.strip()),
        text=text,
        finish_reason="cancelled",
        num_prompt_tokens=0,
        num_completion_tokens=num_tokens,
        first_token_seconds=first,
        seconds=time.monotonic() - started,
    )


def item_request(item: Item, tools: Sequence[ToolSpec] = ()) -> GenerationRequest:
    """The request of an item: with `tools` where it brings none; text to be scored is asked without tools."""
    offered = () if item.kind == "score" else item.tools if item.tools is not None else tuple(tools)
    return GenerationRequest(messages=item.messages, tools=offered, max_tokens=_room(item), temperature=0.0)


def _room(item: Item) -> int:
    """Tokens an answer may have: a reply to be compared with one as many as that one needs, one that only must be none a few."""
    if item.kind == "decision" and item.reference:
        return min(MAX_REPLY_TOKENS, tokens_for(item.reference))
    return FIRST_TOKENS if item.expect.get("reply") == {"not_call": True} else MAX_ANSWER_TOKENS


class ResultsFile:
    """Appends results as JSONL; without a path it keeps nothing."""

    def __init__(self, path: Path | None) -> None:
        self._file = path.open("a", encoding="utf-8") if path else None

    def __enter__(self) -> Self:
        return self

    def write(self, result: ItemResult) -> None:
        if self._file:
            self._file.write(canonical_json(result.model_dump(mode="json")) + "\n")
            self._file.flush()

    def __exit__(self, *_: object) -> None:
        if self._file:
            os.fsync(self._file.fileno())
            self._file.close()


def read_results(path: Path) -> list[ItemResult]:
    """The whole lines of a results file; a last line cut off by a kill is removed from the file, so that appending goes on behind whole ones."""
    if not path.exists():
        return []
    raw = path.read_bytes()
    whole = raw[: raw.rfind(b"\n") + 1]
    if len(whole) != len(raw):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    return [ItemResult.model_validate_json(line) for line in whole.splitlines() if line.strip()]


def suite_paths(evals_dir: Path) -> list[Path]:
    """The protected suites of a project, in the order of their names."""
    return sorted(evals_dir.glob("*.jsonl")) if evals_dir.is_dir() else []


def mean_metrics(results: Iterable[ItemResult]) -> Mapping[str, float]:
    """Mean of every metric over the items that have it."""
    values: dict[str, list[float]] = {}
    for result in results:
        for name, value in result.metrics.items():
            values.setdefault(name, []).append(value)
    return {name: sum(column) / len(column) for name, column in sorted(values.items())}
