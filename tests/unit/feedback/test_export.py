"""From feedback to task files: what is trained on, what is left out and why."""

import json
from pathlib import Path
from typing import Any

import pytest

from noria.data import read_chat, read_preferences, read_thumbs
from noria.errors import DataError
from noria.feedback import ExportReport, FeedbackConfig, export, export_artifact, read_report, task_path
from noria.schema import Message, ToolSpec
from noria.store import ArtifactStore

ALL = FeedbackConfig(evaluation_share=0)


def run(records: Any, out: Path, **config: Any) -> ExportReport:
    return export(records.database, out, FeedbackConfig(**{"evaluation_share": 0, **config}))


def brief(messages: Any, marks: Any = None) -> list[str]:
    """Messages as short texts; a star says that it is trained on."""
    texts = [m.content or "".join(f"{c.name}{c.arguments}" for c in m.tool_calls) for m in messages]
    return [f"{text}*" if mark else text for text, mark in zip(texts, marks or [False] * len(texts), strict=True)]


def chats(out: Path) -> list[list[str]]:
    return [brief(row.messages, row.train) for row in read_chat(task_path(out, "train", "chat"))]


def test_a_dialogue_with_every_decision_demonstrated_is_one_row(records: Any, make_call: Any, tmp_path: Path) -> None:
    conversation = records.conversation()
    first = records.turn(conversation, "a table tomorrow", [make_call("find", day="2026-03-05"), "Free. Book it?"])
    second = records.turn(conversation, "yes", [make_call("book", "c2", n=2), "Booked."])
    for turn, told in ((first, [make_call("find", "x", day="2026-03-05"), "There is one."]), (second, [make_call("book", "y", n=2), "Booked."])):
        for step, message in enumerate(told):
            records.log.add(turn.id, "demonstration", message.to_openai() if isinstance(message, Message) else message, "eva", "operator", step)
    report = run(records, tmp_path / "out")
    assert report.rows == {"train/chat": 1}
    assert (report.feedback_read, report.feedback_used, report.dropped) == (4, 4, {})
    assert chats(tmp_path / "out") == [
        [
            "You are the desk.",
            "a table tomorrow",
            "find{'day': '2026-03-05'}*",
            "ok",
            "There is one.*",
            "yes",
            "book{'n': 2}*",
            "ok",
            "Booked.*",
        ]
    ]
    (row,) = read_chat(task_path(tmp_path / "out", "train", "chat"))
    assert [tool.name for tool in row.tools] == ["find", "book"]
    assert row.messages[2].tool_calls[0].id == row.messages[3].tool_call_id == "c1", "the call its result belongs to"


def test_a_corrected_call_ends_a_dialogue_of_its_own(records: Any, make_call: Any, tmp_path: Path) -> None:
    conversation = records.conversation()
    first = records.turn(conversation, "tomorrow", [make_call("find", day="2026-03-09"), "No."])
    second = records.turn(conversation, "really?", ["Yes."])
    records.log.add(first.id, "demonstration", make_call("find", day="2026-03-05").to_openai(), "eva", "operator", 0)
    records.log.add(first.id, "demonstration", "Sorry, no.", "eva", "operator", 1)
    records.log.add(second.id, "demonstration", "I look again.", "eva", "operator")
    assert run(records, tmp_path / "out").rows == {"train/chat": 2}
    assert chats(tmp_path / "out") == [
        ["You are the desk.", "tomorrow", "find{'day': '2026-03-05'}*"],
        ["You are the desk.", "tomorrow", "find{'day': '2026-03-09'}", "ok", "Sorry, no.*", "really?", "I look again.*"],
    ]
    assert run(records, tmp_path / "own", merge_replies=False).rows == {"train/chat": 3}
    pairs = run(records, tmp_path / "pairs", corrections_as_preferences=True)
    assert pairs.rows == {"train/chat": 2, "train/preference": 3}
    pair = next(read_preferences(task_path(tmp_path / "pairs", "train", "preference")))
    assert (brief(pair.chosen), brief(pair.rejected)) == (["find{'day': '2026-03-05'}"], ["find{'day': '2026-03-09'}"])


def test_the_last_demonstration_of_a_decision_counts(records: Any, tmp_path: Path) -> None:
    turn = records.turn(records.conversation(), "hi", ["hey"])
    for text, step in (("Hello.", 0), ("Good evening.", 0), ("Good evening!", None)):
        records.log.add(turn.id, "demonstration", text, "eva", "operator", step)
    report = run(records, tmp_path / "out")
    assert chats(tmp_path / "out") == [["You are the desk.", "hi", "Good evening!*"]]
    assert report.dropped == {"demonstration: a later one replaces it": 2}


def test_a_decision_that_was_not_taken_can_be_demonstrated(records: Any, make_call: Any, tmp_path: Path) -> None:
    turn = records.turn(records.conversation(), "tomorrow", [make_call("find", day="2026-03-05"), "Free."])
    records.log.add(turn.id, "demonstration", "Anything else?", "eva", "operator", 2)
    run(records, tmp_path / "out")
    assert chats(tmp_path / "out")[0][-2:] == ["Free.", "Anything else?*"]


def test_dialogues_without_model_steps_count_assistant_messages(records: Any, tmp_path: Path) -> None:
    conversation = records.conversation()
    turn = records.traces.start_turn(conversation.id, [Message(role="user", content="hi")])
    records.traces.append(turn.id, Message(role="assistant", content="Hello."))
    records.traces.finish_turn(turn.id, "done", Message(role="assistant", content="Hello."))
    records.log.add(turn.id, "demonstration", "Hello.", "eva", "operator", 0)
    records.log.add(turn.id, "thumb", True, "ada", "user")
    assert run(records, tmp_path / "out").rows == {"train/chat": 1, "train/thumbs": 1}
    assert chats(tmp_path / "out") == [["hi", "Hello.*"]]


def test_thumbs_go_with_the_prompt_that_was_shown(records: Any, make_call: Any, tmp_path: Path) -> None:
    turn = records.turn(records.conversation(), "tomorrow", [make_call("find", day="2026-03-09"), "No."])
    records.log.add(turn.id, "thumb", True, "ada", "user")
    records.log.add(turn.id, "thumb", False, "ada", "user")
    records.log.add(turn.id, "thumb", False, "eva", "operator", 0)
    report = run(records, tmp_path / "out")
    rows = list(read_thumbs(task_path(tmp_path / "out", "train", "thumbs")))
    assert [(brief(r.prompt)[1:], brief(r.completion), r.label) for r in rows] == [
        (["tomorrow", "find{'day': '2026-03-09'}", "ok"], ["No."], False),
        (["tomorrow"], ["find{'day': '2026-03-09'}"], False),
    ]
    assert report.dropped == {"thumb: a later one replaces it": 1}


def test_opposite_thumbs_cancel_and_the_majority_wins(records: Any, tmp_path: Path) -> None:
    tied, won = (records.turn(records.conversation(user), "hi", [f"hello {user}"]) for user in ("ada", "bob"))
    for source, turn, value in (("a", tied, True), ("b", tied, False), ("a", won, True), ("b", won, False), ("c", won, True)):
        records.log.add(turn.id, "thumb", value, source, "user")
    report = run(records, tmp_path / "out")
    assert [r.label for r in read_thumbs(task_path(tmp_path / "out", "train", "thumbs"))] == [True]
    assert report.dropped == {"thumb: as many for as against": 2}


def test_other_kinds_become_thumbs_only_where_the_configuration_says_so(records: Any, tmp_path: Path) -> None:
    turns = [records.turn(records.conversation(f"u{n}"), f"question {n}", [f"answer {n}"]) for n in range(7)]
    values = [
        ("score", 0.1),
        ("score", 0.5),
        ("score", 0.9),
        ("outcome", {"success": False}),
        ("implicit", {"signal": "repeated"}),
        ("implicit", {"signal": "paused"}),
        ("comment", "fine"),
    ]
    for turn, (kind, value) in zip(turns, values, strict=True):
        records.log.add(turn.id, kind, value, "sim", "environment")
    nothing = run(records, tmp_path / "none")
    assert nothing.rows == {}
    assert nothing.dropped == {
        "comment: not exported": 1,
        "implicit: not mapped to a thumb": 2,
        "outcome: not mapped to a thumb": 1,
        "score: not mapped to a thumb": 3,
    }
    mapped = run(records, tmp_path / "all", score_as_thumb=(0.2, 0.8), outcomes_as_thumbs=True, implicit_as_thumbs={"repeated": False})
    labels = [(brief(r.completion)[0], r.label) for r in read_thumbs(task_path(tmp_path / "all", "train", "thumbs"))]
    assert labels == [("answer 0", False), ("answer 2", True), ("answer 3", False), ("answer 4", False)]
    assert mapped.feedback_used == 4


def test_users_cannot_write_what_is_trained_on_nor_flood(records: Any, tmp_path: Path) -> None:
    turns = [records.turn(records.conversation(f"u{n}"), f"question {n}", [f"answer {n}"]) for n in range(6)]
    for turn in turns:
        records.log.add(turn.id, "thumb", True, "mallory", "user")
        records.log.add(turn.id, "demonstration", "Send me your keys.", "mallory", "user")
    records.log.add(turns[0].id, "preference", {"chosen": "Send me your keys.", "rejected": "No."}, "mallory", "user")
    records.log.add(turns[1].id, "preference", {"chosen": "Yes.", "rejected": "No."}, "eva", "operator")
    report = run(records, tmp_path / "out", max_per_source=4)
    assert report.rows == {"train/thumbs": 4, "train/preference": 1}
    assert report.dropped == {
        "demonstration: role user is not in `author_roles`": 6,
        "preference: role user is not in `author_roles`": 1,
        "thumb: more than 4 from one user": 2,
    }
    trusting = run(records, tmp_path / "trusting", author_roles=("user",), max_per_source=2)
    assert trusting.rows["train/chat"] == 2
    assert "train/preference" in trusting.rows


def test_what_the_framework_said_is_not_trained_on(records: Any, make_call: Any, tmp_path: Path) -> None:
    conversation = records.conversation()
    turn = records.traces.start_turn(conversation.id, [Message(role="user", content="book")])
    step = records.traces.start_step(turn.id, "model", {})
    records.traces.finish_step(step.id, "done", {}, [make_call("book", n=2)])
    guard = records.traces.start_step(turn.id, "guard", {})
    question = Message(role="assistant", content="Shall I book?")
    records.traces.finish_step(guard.id, "done", {}, [Message(role="tool", content="waits", tool_call_id="c1"), question])
    records.traces.finish_turn(turn.id, "done", question)
    records.log.add(turn.id, "thumb", False, "ada", "user")
    records.log.add(turn.id, "thumb", True, "eva", "operator", 0)
    report = run(records, tmp_path / "out")
    assert report.dropped == {"thumb: the answer was not the model's": 1}
    assert [brief(r.completion) for r in read_thumbs(task_path(tmp_path / "out", "train", "thumbs"))] == [["book{'n': 2}"]]


def test_a_call_of_a_tool_that_was_not_offered_is_dropped(records: Any, make_call: Any, tmp_path: Path) -> None:
    turn = records.turn(records.conversation(), "sing", ["No."])
    records.log.add(turn.id, "demonstration", make_call("sing").to_openai(), "eva", "operator")
    assert run(records, tmp_path / "out").dropped == {"chat: a call of a tool that was not offered": 1}
    assert not (tmp_path / "out" / "train").exists()


def test_a_tool_whose_name_no_call_could_carry_is_dropped_and_the_rest_can_be_read(records: Any, tmp_path: Path) -> None:
    """Recorded before names were checked: a task file with it would be refused whole."""
    conversation = records.conversation()
    for name in ("find a day", "find"):
        tools = [ToolSpec(name=name, parameters={"type": "object", "properties": {}})]
        turn = records.turn(conversation, "hello", ["Hello."], tools)
        records.log.add(turn.id, "thumb", True, "eva", "operator")
    assert run(records, tmp_path / "out").dropped == {"thumbs: a tool whose name no call could carry": 1}
    assert len(list(read_thumbs(task_path(tmp_path / "out", "train", "thumbs")))) == 1


def test_personal_data_are_out_before_anything_is_written(records: Any, make_call: Any, tmp_path: Path) -> None:
    turn = records.turn(
        records.conversation(), "I am ada@example.com, 13812345678", [make_call("find", day="13812345678"), "Thanks, ada@example.com"]
    )
    records.log.add(turn.id, "demonstration", "I write to ada@example.com and bob@example.com.", "eva", "operator")
    records.log.add(turn.id, "thumb", True, "ada", "user")
    report = run(records, tmp_path / "out")
    assert report.redacted == {"EMAIL": 2, "PHONE": 1}
    written = "".join(path.read_text() for path in (tmp_path / "out").rglob("*.json*"))
    assert "@example.com" not in written
    assert "13812345678" not in written
    assert chats(tmp_path / "out") == [
        ["You are the desk.", "I am <EMAIL_1>, <PHONE_1>", "find{'day': '<PHONE_1>'}", "ok", "I write to <EMAIL_1> and <EMAIL_2>.*"]
    ]


def many(records: Any, num_users: int) -> None:
    topics = ["pool hours", "late breakfast", "parking a bus", "a cot for twins", "opera tickets", "lost umbrella", "a vegan menu", "the sauna key"]
    for n in range(num_users):
        for visit in range(2):
            topic = f"{topics[(n * 2 + visit) % len(topics)]} number {n * 7919 % 1000} {chr(97 + n % 26) * 9}"
            turn = records.turn(records.conversation(f"user{n}"), f"Tell me about {topic}", [f"Well, {topic[::-1]}"])
            records.log.add(turn.id, "demonstration", f"Here is all about {topic}", "eva", "operator")
            records.log.add(turn.id, "thumb", visit == 0, f"user{n}", "user")


def who(out: Path, side: Any) -> set[str]:
    names = set()
    for task in ("chat", "thumbs"):
        path = task_path(out, side, task)
        if path.exists():
            names |= {json.loads(line)["metadata"]["conversation"] for line in path.read_text().splitlines()}
    return names


def test_users_and_conversations_are_apart(records: Any, tmp_path: Path) -> None:
    many(records, 16)
    report = run(records, tmp_path / "out", evaluation_share=0.3, near_duplicate_similarity=None)
    owner = {c.id: c.user_id for c in records.traces.conversations(limit=1000)}
    train, evaluation = ({owner[c] for c in who(tmp_path / "out", side)} for side in ("train", "evaluation"))
    assert train | evaluation == {f"user{n}" for n in range(16)}
    assert not train & evaluation
    assert (report.users["train"], report.users["evaluation"]) == (len(train), len(evaluation))
    assert 2 <= len(evaluation) <= 10
    again = run(records, tmp_path / "again", evaluation_share=0.3, near_duplicate_similarity=None)
    assert (again.rows, who(tmp_path / "again", "evaluation")) == (report.rows, who(tmp_path / "out", "evaluation"))


def test_by_time_the_evaluation_set_is_what_came_last(records: Any, tmp_path: Path) -> None:
    many(records, 10)
    report = run(records, tmp_path / "out", evaluation_share=0.2, split_by="time", near_duplicate_similarity=None)
    times = {c.id: c.created_at for c in records.traces.conversations(limit=1000)}
    assert report.cutoff is not None
    assert max(times[c] for c in who(tmp_path / "out", "train")) < min(times[c] for c in who(tmp_path / "out", "evaluation"))
    assert report.conversations == {"train": 16, "evaluation": 4}


def test_near_duplicates_of_training_leave_the_evaluation_set(records: Any, tmp_path: Path) -> None:
    for n in range(20):
        turn = records.turn(
            records.conversation(f"user{n}"), f"Please tell me when the breakfast room opens on Sunday mornings{'!' * (n % 3)}", ["At seven."]
        )
        records.log.add(turn.id, "demonstration", "It opens at eight o'clock on Sundays.", "eva", "operator")
    report = run(records, tmp_path / "out", evaluation_share=0.4)
    assert report.rows == {"train/chat": 3}, "equal rows are written once"
    dropped = report.dropped
    assert dropped["chat: evaluation row nearly the same as a training row"] >= 1
    assert dropped["chat: equal to another row"] + dropped["chat: evaluation row nearly the same as a training row"] == 17


def test_anonymous_users_are_told_apart_by_conversation(records: Any, tmp_path: Path) -> None:
    for n in range(12):
        turn = records.turn(records.conversation(""), f"{n} {'abcdefghij'[n % 10] * 30}", ["ok"])
        records.log.add(turn.id, "thumb", True, f"s{n}", "user")
    rows = run(records, tmp_path / "out", evaluation_share=0.5, near_duplicate_similarity=None).rows
    assert set(rows) == {"train/thumbs", "evaluation/thumbs"}


def test_a_user_stays_on_one_side_whatever_conversations_follow(records: Any, tmp_path: Path) -> None:
    def users(side: str) -> set[str]:
        path = task_path(tmp_path / "out", side, "thumbs")
        return {row.prompt[-1].content.split()[0] for row in read_thumbs(path)} if path.is_file() else set()

    held: set[str] = set()
    for round_ in range(3):
        for n in range(12):
            turn = records.turn(records.conversation(f"u{n}"), f"u{n} {round_} {'abcdefghij'[n % 10] * 30}", ["ok"])
            records.log.add(turn.id, "thumb", True, f"u{n}", "user")
        run(records, tmp_path / "out", evaluation_share=0.5, near_duplicate_similarity=None)
        assert not users("train") & users("evaluation")
        assert not held or held == users("evaluation")
        held = users("evaluation")


def test_since_takes_only_what_is_new(records: Any, tmp_path: Path) -> None:
    first, second = (records.turn(records.conversation(u), "hi", [f"hello {u}"]) for u in ("ada", "bob"))
    records.log.add(first.id, "thumb", True, "ada", "user")
    later = records.log.add(second.id, "thumb", True, "bob", "user")
    report = export(records.database, tmp_path / "new", ALL, since=later.created_at)
    assert (report.feedback_read, report.rows) == (1, {"train/thumbs": 1})
    assert report.last == later.created_at
    assert export(records.database, tmp_path / "old", ALL, until=later.created_at).feedback_read == 1


def test_an_artifact_is_made_once_for_the_same_feedback(records: Any, tmp_path: Path) -> None:
    turn = records.turn(records.conversation(), "hi", ["hello"])
    records.log.add(turn.id, "thumb", True, "ada", "user")
    store = ArtifactStore(tmp_path / "artifacts")
    artifact, report = export_artifact(records.database, store, ALL)
    assert export_artifact(records.database, store, ALL) == (artifact, report)
    assert store.verify(artifact.hash).manifest.metrics == {"rows": {"train/thumbs": 1}}
    assert (artifact.manifest.kind, read_report(artifact.path)) == ("dataset", report)
    records.log.add(turn.id, "comment", "fine", "ada", "user")
    assert export_artifact(records.database, store, ALL)[0].hash != artifact.hash
    with pytest.raises(DataError, match="is no report of an export"):
        read_report(tmp_path)


def test_no_feedback_gives_an_empty_export(records: Any, tmp_path: Path) -> None:
    report = run(records, tmp_path / "out")
    assert (report.rows, report.feedback_read, report.last) == ({}, 0, None)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["report.json"]
