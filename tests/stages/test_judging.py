"""`noria evaluate --judge`: two served models, a third that judges, sheets that people fill; a killed run asks only the rest."""

import csv
import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from noria.cli.main import run
from noria.errors import ConfigError, DataError, ModelError
from noria.lifecycle.judging import Comparison, judge_pairs
from noria.schema import GenerationRequest, Message, ToolCall
from noria.testing import ScriptedGenerator
from noria.testing.openai_server import OpenAIServer, openai_server

NUM_ROWS = 12


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    rows = [{"messages": [{"role": "user", "content": f"Room {n}?"}, {"role": "assistant", "content": "Yes."}]} for n in range(NUM_ROWS)]
    return write(tmp_path / "chat.jsonl", rows)


def judging(request: GenerationRequest) -> str:
    """Prefers what is kind."""
    a, b = request.messages[-1].content.split("[Answer B]")
    better = "A" if "please" in a and "please" not in b else "B" if "please" in b and "please" not in a else "tie"
    return json.dumps({"reason": "Kindness.", "better": better})


@pytest.fixture
def servers() -> Any:
    with ExitStack() as stack:
        kind = stack.enter_context(openai_server(ScriptedGenerator(lambda r: f"please, {r.messages[-1].content[:-1]} is ready")))
        curt = stack.enter_context(openai_server(ScriptedGenerator(lambda _: "yes")))
        judge = stack.enter_context(openai_server(ScriptedGenerator(judging)))
        yield kind, curt, judge


def asked(servers: tuple[OpenAIServer, ...], data: Path, task: str = "chat") -> Comparison:
    kind, curt, judge = servers
    return Comparison(model=f"{kind.url}#kind", against=f"{curt.url}#curt", judge=f"{judge.url}#judge", task=task, data=data)


def test_a_judge_compares_and_people_check_it(tmp_path: Path, chats: Path, servers: Any) -> None:
    out, sheet = tmp_path / "r.json", tmp_path / "sheet.csv"
    report = judge_pairs(None, asked(servers, chats), out, sheet, [], lambda *_: None, lambda _: None)
    assert (report["in_training_file"], report["in_evaluation_file_against"]) == (None, None)  # of a server it is not known
    assert (report["judge"]["wins"], report["judge"]["losses"], report["judge"]["consistency"], report["judge"]["unread"]) == (NUM_ROWS, 0, 1.0, 0)
    assert report["judge"]["p"] == pytest.approx(2 * 2**-NUM_ROWS)
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        row["better"] = "tie" if number < 3 else "first" if "please" in row["first"] else "second"
    for name in ("ann.csv", "bob.csv"):
        with (tmp_path / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
    before = [len(server.requests) for server in servers]
    again = judge_pairs(None, asked(servers, chats), out, None, [tmp_path / "ann.csv", tmp_path / "bob.csv"], lambda *_: None, lambda _: None)
    assert [len(server.requests) for server in servers] == before, "nobody is asked again"
    assert (again["people"]["wins"], again["people"]["ties"]) == (NUM_ROWS - 3, 3)
    assert again["people"]["agreement"] == {"same": 1.0, "kappa": 1.0}
    assert again["people"]["agreement_with_judge"]["same"] == pytest.approx((NUM_ROWS - 3) / NUM_ROWS)
    assert json.loads(out.read_text()) == json.loads(json.dumps(again))


def test_a_run_that_fails_half_way_goes_on_behind_what_it_has(tmp_path: Path, chats: Path) -> None:
    asked_for: list[str] = []

    def failing(request: GenerationRequest) -> Any:
        asked_for.append(request.messages[-1].content)
        return ModelError("gone") if "Room 7?" in asked_for[-1] and len(asked_for) < 50 else "please"

    with ExitStack() as stack:
        kind = ScriptedGenerator(lambda r: failing(r) if "7?" in r.messages[-1].content else "please")
        servers = [stack.enter_context(openai_server(one)) for one in (kind, ScriptedGenerator(lambda _: "yes"), ScriptedGenerator(judging))]
        comparison = asked(tuple(servers), chats)
        with pytest.raises(ModelError):
            judge_pairs(None, comparison, tmp_path / "r.json", None, [], lambda *_: None, lambda _: None)
        assert not (tmp_path / "r.json").exists()
        kept = (tmp_path / "r.pairs.jsonl").read_text().splitlines()
        assert [json.loads(line)["request"] for line in kept[1:]] == [f"Room {n}?" for n in range(7)]
        asked_for += ["enough"] * 50
        before = len(servers[1].requests)
        report = judge_pairs(None, comparison, tmp_path / "r.json", None, [], lambda *_: None, lambda _: None)
        assert report["n"] == NUM_ROWS
        assert len(servers[1].requests) - before == NUM_ROWS - 7


def test_other_data_is_another_comparison_and_another_judge_is_not(tmp_path: Path, chats: Path, servers: Any) -> None:
    comparison = asked(servers, chats)
    judge_pairs(None, comparison, tmp_path / "r.json", None, [], lambda *_: None, lambda _: None)
    before = len(servers[0].requests)
    people = replace(comparison, judge=None)
    judge_pairs(None, people, tmp_path / "r.json", None, [], lambda *_: None, lambda _: None)
    assert len(servers[0].requests) == before, "answers do not depend on who judges them"
    write(chats, [{"messages": [{"role": "user", "content": f"Key {n}?"}, {"role": "assistant", "content": "Yes."}]} for n in range(4)])
    with pytest.raises(ConfigError, match="of another comparison, or a model or the data have changed"):
        judge_pairs(None, comparison, tmp_path / "r.json", None, [], lambda *_: None, lambda _: None)
    assert judge_pairs(None, comparison, tmp_path / "other.json", None, [], lambda *_: None, lambda _: None)["n"] == 4
    assert len(servers[0].requests) == before + 4


def test_texts_are_judged_too(tmp_path: Path, servers: Any) -> None:
    data = write(tmp_path / "rows.jsonl", [{"text": f"long text {n}", "target": "short"} for n in range(4)])
    report = judge_pairs(None, asked(servers, data, "summarize"), tmp_path / "r.json", None, [], lambda *_: None, lambda _: None)
    assert report["judge"]["wins"] == 4
    asked_for = {request["messages"][-1]["content"] for request in servers[0].requests}
    assert asked_for == {f"Summarize this text.\n\nlong text {n}" for n in range(4)}


def test_what_cannot_be_judged_is_told_before_anybody_is_asked(tmp_path: Path, chats: Path, servers: Any) -> None:
    with pytest.raises(ConfigError, match="for the tasks chat, summarize, rewrite"):
        judge_pairs(None, asked(servers, chats, "tools"), tmp_path / "r.json", None, [], lambda *_: None, lambda _: None)
    with pytest.raises(DataError, match="holds one row; a comparison needs two or more"):
        one = write(tmp_path / "one.jsonl", [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes."}]}])
        judge_pairs(None, asked(servers, one), tmp_path / "r.json", None, [], lambda *_: None, lambda _: None)
    assert [len(server.requests) for server in servers] == [0, 0, 0]


def test_the_command(tmp_path: Path, chats: Path, servers: Any, capsys: pytest.CaptureFixture[str]) -> None:
    given = asked(servers, chats)
    command = ["evaluate", "--task", "chat", "--data", str(chats), "--model", given.model, "--judge", str(given.judge)]
    assert run(command) == 2
    assert "give `--against`" in capsys.readouterr().err
    assert run([*command, "--against", given.against, "--out", str(tmp_path / "r.json"), "--sheet", str(tmp_path / "s.csv")]) == 0
    shown = capsys.readouterr()
    assert f"judge: {NUM_ROWS} won, 0 lost, 0 tied of {NUM_ROWS}" in shown.out
    assert "`better` takes first, second or tie" in " ".join(shown.err.split())
    assert (tmp_path / "s.csv").is_file()


def fill(sheet: Path, filled: Path, better: Callable[[dict[str, str]], str]) -> Path:
    """What a person does with a sheet."""
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    with filled.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows({**row, "better": better(row)} for row in rows)
    return filled


def test_people_may_judge_only_what_the_judge_was_not_asked_about(
    tmp_path: Path, chats: Path, servers: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Equal answers are a tie unasked: there is nothing that judge and people could agree on."""
    given, out, sheet = asked(servers, chats), tmp_path / "r.json", tmp_path / "s.csv"
    with openai_server(ScriptedGenerator(lambda r: "yes" if "Room 1" in r.messages[-1].content else "please")) as half:
        names = ["--model", f"{half.url}#half", "--against", given.against, "--judge", str(given.judge)]
        command = ["evaluate", "--task", "chat", "--data", str(chats), *names, "--out", str(out)]
        assert run([*command, "--sheet", str(sheet)]) == 0
        filled = fill(sheet, tmp_path / "ann.csv", lambda row: "tie" if row["first"] == row["second"] else "")
        assert run([*command, "--filled", str(filled)]) == 0
    people = json.loads(out.read_text())["people"]
    assert people["ties"] == people["n"] == 3
    assert "agreement_with_judge" not in people
    shown = capsys.readouterr().out
    assert "people: 0 won" in shown
    assert "Judge and people" not in shown


def test_an_answer_is_what_is_said_and_what_is_done(tmp_path: Path, servers: Any) -> None:
    tools = [{"type": "function", "function": {"name": "pay", "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}}}}]
    call = {"id": "c1", "type": "function", "function": {"name": "pay", "arguments": '{"x": 2}'}}
    before = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Wait.", "tool_calls": [call], "train": False}]
    after = [{"role": "tool", "content": "ok", "tool_call_id": "c1"}, {"role": "user", "content": "And?"}]
    row = {"messages": [*before, *after, {"role": "assistant", "content": "Done.", "train": True}], "tools": tools}
    paying = Message(role="assistant", content="Done.", tool_calls=(ToolCall(id="c2", name="pay", arguments={"x": 1}),))
    with openai_server(ScriptedGenerator(lambda _: paying)) as pays, openai_server(ScriptedGenerator(lambda _: "Done.")) as talks:
        given = asked((pays, talks, servers[2]), write(tmp_path / "pay.jsonl", [row, row]))
        report = judge_pairs(None, given, tmp_path / "r.json", None, [], lambda *_: None, lambda _: None)
    assert report["judge"]["unasked"] == 0, "the answers are not equal: one of them pays"
    shown = servers[2].requests[0]["messages"][-1]["content"]
    assert 'Done.\npay({"x": 1})' in shown
    assert 'assistant: Wait.\npay({"x": 2})' in shown


def test_a_report_is_no_page(tmp_path: Path, chats: Path, servers: Any) -> None:
    with pytest.raises(ConfigError, match=r"the report is JSON.* Give '.*r.json'"):
        judge_pairs(None, asked(servers, chats), tmp_path / "r.html", None, [], lambda *_: None, lambda _: None)
    assert [len(server.requests) for server in servers] == [0, 0, 0]
    assert not list(tmp_path.glob("r.*"))


def test_a_sheet_of_one_conversation_is_refused_before_the_judge_is_asked(tmp_path: Path, chats: Path, servers: Any) -> None:
    given, sheet = asked(servers, chats), tmp_path / "s.csv"
    judge_pairs(None, replace(given, judge=None), tmp_path / "r.json", sheet, [], lambda *_: None, lambda _: None)
    one = fill(sheet, tmp_path / "ann.csv", lambda row: "tie" if row["request"] == "Room 3?" else "")
    with pytest.raises(DataError, match=r"ann.csv' holds one row; a comparison needs two or more"):
        judge_pairs(None, given, tmp_path / "r.json", None, [one], lambda *_: None, lambda _: None)
    assert servers[2].requests == []


def test_a_file_that_is_no_comparison_is_left_as_it_is(tmp_path: Path, chats: Path, servers: Any) -> None:
    mine = tmp_path / "mine.pairs.jsonl"
    mine.write_text('my notes\n{"more": "of them"}\nno JSON')
    with pytest.raises(ConfigError, match=r"mine.pairs.jsonl' holds something else.* Give another `--out`"):
        judge_pairs(None, asked(servers, chats), tmp_path / "mine.json", None, [], lambda *_: None, lambda _: None)
    assert mine.read_text() == 'my notes\n{"more": "of them"}\nno JSON'
    assert [len(server.requests) for server in servers] == [0, 0, 0]


def test_what_people_wrote_is_not_written_over(tmp_path: Path, chats: Path, servers: Any) -> None:
    given, sheet = asked(servers, chats), tmp_path / "s.csv"
    (tmp_path / "ann.csv").write_text("id,better\n")
    (tmp_path / "link.csv").symlink_to(tmp_path / "ann.csv")
    (tmp_path / "r.verdicts.jsonl").write_text("id,better\n")
    for out, drawn, filled in (
        (sheet, sheet, None),
        (chats, None, None),
        (tmp_path / "link.csv", None, "ann.csv"),
        (tmp_path / "x" / ".." / "ann.csv", None, "ann.csv"),
        (tmp_path / "r.json", None, "r.verdicts.jsonl"),
    ):
        with pytest.raises(ConfigError, match=r"it is also given as .*Give another `--out`"):
            judge_pairs(None, given, out, drawn, [tmp_path / filled] if filled else [], lambda *_: None, lambda _: None)
    assert (tmp_path / "ann.csv").read_text() == "id,better\n"
    assert [len(server.requests) for server in servers] == [0, 0, 0]


def test_what_is_not_asked_again_is_told(tmp_path: Path, chats: Path, servers: Any) -> None:
    given, out, said = asked(servers, chats), tmp_path / "r.json", list[str]()
    judge_pairs(None, given, out, None, [], lambda *_: None, said.append)
    assert said == []
    judge_pairs(None, given, out, None, [], lambda *_: None, said.append)
    assert [sentence.split(" were ")[0] for sentence in said] == [
        f"{NUM_ROWS} of {NUM_ROWS} answers of both models",
        f"{NUM_ROWS} of {NUM_ROWS} verdicts of the judge",
    ]
    assert all("Give another `--out` to ask anew" in sentence for sentence in said)
