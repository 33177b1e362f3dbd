"""The page as people meet it: talk, judge, correct, see releases; in both languages; and nothing a model says can run."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urljoin

import pytest
from playwright.sync_api import Page, expect

from noria.errors import ModelError
from noria.schema import Delta, GateReport, Generation, GenerationRequest, Message, SuiteResult
from noria.serve import Runtime
from noria.testing import ScriptedGenerator
from noria.testing.project import scripted_runtime, write_small_project

expect.set_options(timeout=20_000)
BOOKING: list[Any] = [
    {"book_table": {"day": "2026-03-04", "at": "19:00", "guests": 2, "name": "Wang"}},
    "Your table is booked for Wednesday.",
]


class Gated(ScriptedGenerator):
    """Waits in the middle of an answer until it is let go."""

    def __init__(self, script: Any) -> None:
        super().__init__(script)
        self.go = threading.Event()

    def stream(self, request: GenerationRequest) -> Iterator[Delta | Generation]:
        for number, item in enumerate(super().stream(request)):
            if number == 4:
                assert self.go.wait(20)
            yield item


def say(page: Page, text: str) -> None:
    page.get_by_label("Your message").fill(text)
    page.keyboard.press("Enter")


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def suite(name: str, role: Any, passed: bool = True) -> SuiteResult:
    return SuiteResult(
        suite=name, role=role, n=120, before=0.25, after=0.65, effect=0.4, interval=(0.31, 0.49), test="exact McNemar", p=0.00002, alpha=0.0125,
        margin=None if role == "objective" else 0.02, passed=passed,
        reason=f"{'Not worse' if role == 'protected' else 'Better'} on `{name}`: +0.400 [+0.310, +0.490], p 2e-05 <= 0.013, n 120.",
    )  # fmt: skip


def candidate(runtime: Runtime) -> str:
    """A new release that the gate found better."""
    live = runtime.releases.live()
    assert live is not None
    made = runtime.releases.add(live.artifacts, live.id)
    suites = (suite("task-success", "objective"), suite("manners", "protected"))
    report = GateReport(
        candidate_id=made.id, live_id=live.id, decision="promote", reasons=(suites[0].reason,), alpha_spent=0.0125, alpha_left=0.0375,
        suites=suites, created_at=datetime.now(UTC),
    )  # fmt: skip
    runtime.releases.move(made.id, "canary", " ".join(report.reasons), report)
    return made.id


def test_an_answer_streams_and_its_steps_unfold(studio: Any) -> None:
    generator = Gated(lambda _: "Hello there, " + "welcome to the desk. " * 10)
    page, _ = studio(generator)
    say(page, "Hi")
    expect(page.locator("noria-answer .said").first).to_contain_text("Hello there")
    assert "welcome to the desk." not in page.locator("noria-answer").first.inner_text()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    generator.go.set()
    expect(page.get_by_role("button", name="Good answer")).to_be_visible()
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    assert page.locator("noria-answer").first.inner_text().count("welcome to the desk.") == 10


def test_tool_calls_and_sources_unfold_on_demand(studio: Any) -> None:
    page, _ = studio([{"search_knowledge": {"query": "breakfast"}}, *BOOKING])
    say(page, "Breakfast, and a table?")
    expect(page.get_by_text("Your table is booked")).to_be_visible()
    call = page.locator("details.step", has_text="book_table")
    expect(call.get_by_text("Wang", exact=True)).to_be_hidden()
    call.locator("summary").click()
    expect(call.get_by_text("Wang", exact=True)).to_be_visible()
    expect(call.locator("pre")).to_contain_text('"booking": "B-1"')
    search = page.locator("details.step", has_text="Searched the knowledge")
    search.locator("summary").first.click()
    search.locator("details.source summary").click()
    expect(search.get_by_text("Breakfast is served from 7:00")).to_be_visible()
    expect(search.get_by_text("knowledge/breakfast.md")).to_be_visible()


def test_a_call_that_was_refused_is_not_shown_as_done(studio: Any) -> None:
    look: dict[str, Any] = {"find_table": {"day": "2026-03-04", "guests": 2, "area": "inside"}}
    page, _ = studio([look, look, "Table four is free."])
    say(page, "A table?")
    expect(page.get_by_text("Table four is free.")).to_be_visible()
    marks = page.locator("details.step .mark")
    expect(marks.nth(0)).to_have_attribute("aria-label", "done")
    expect(marks.nth(1)).to_have_attribute("aria-label", "refused, not done")
    page.get_by_role("button", name="中文").click()
    expect(marks.nth(1)).to_have_attribute("aria-label", "被拒绝，未执行")


def test_a_thumb_a_comment_and_a_correction_reach_the_store(studio: Any) -> None:
    page, runtime = studio(["Hello."])
    say(page, "Hi")
    page.get_by_role("button", name="Good answer").click()
    expect(page.get_by_text("Noted. Thank you.")).to_be_visible()
    expect(page.get_by_role("button", name="Good answer")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Bad answer").click()
    page.get_by_label("What was wrong?").fill("Too short")
    page.get_by_role("button", name="Send the comment").click()
    expect(page.get_by_text("Your comment is stored.")).to_be_visible()
    page.get_by_role("button", name="What should it have said?").click()
    page.get_by_role("button", name="Save the correction").click()
    expect(page.get_by_text("This is what it said already.")).to_be_visible()
    page.get_by_label("The reply").fill("Good evening! How can I help?")
    page.get_by_role("button", name="Save the correction").click()
    expect(page.locator(".corrected")).to_contain_text("Stored: it should have been")
    expect(page.locator(".corrected")).to_contain_text("Good evening! How can I help?")
    expect(page.get_by_role("button", name="What should it have said?")).to_be_focused()
    stored = [(f.kind, f.role, f.value) for f in runtime.feedback.list()]
    assert stored == [
        ("thumb", "user", True),
        ("thumb", "user", False),
        ("comment", "user", "Too short"),
        ("demonstration", "operator", {"role": "assistant", "content": "Good evening! How can I help?"}),
    ]


def test_a_tool_call_is_corrected_in_a_form_made_from_its_schema(studio: Any) -> None:
    page, runtime = studio([{"find_table": {"day": "2026-03-04", "guests": 2}}, *BOOKING])
    say(page, "A table for five")
    expect(page.get_by_text("Your table is booked")).to_be_visible()
    step = page.locator("details.step", has_text="book_table")
    step.locator("summary").click()
    step.get_by_role("button", name="What should it have done here?").click()
    expect(page.get_by_label("guests")).to_have_value("2")
    page.get_by_label("guests").fill("")
    page.get_by_role("button", name="Save the correction").click()
    expect(page.get_by_text("Fill in: guests.")).to_be_visible()
    page.get_by_label("guests").fill("5")
    page.get_by_role("button", name="Save the correction").click()
    expect(page.locator(".corrected")).to_contain_text("book_table")
    [stored] = runtime.feedback.list()
    assert (stored.kind, stored.step) == ("demonstration", 1)
    call = stored.value["tool_calls"][0]["function"]
    assert call["name"] == "book_table"
    assert call["arguments"] == '{"day": "2026-03-04", "at": "19:00", "guests": 5, "name": "Wang"}'


def test_a_users_correction_is_kept_for_the_team(studio: Any, tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("DESK_OPERATORS", "key-of-the-team")
    project = write_small_project(tmp_path / "desk", '[serve]\noperator_keys_env = "DESK_OPERATORS"\n')
    page, runtime = studio(runtime=scripted_runtime(project, lambda _: ScriptedGenerator(["Hello."])))
    expect(page.locator(".welcome")).to_contain_text("It is kept for the team.")
    say(page, "Hi")
    page.get_by_role("button", name="What should it have said?").click()
    expect(page.get_by_text("Kept for the team: it is trained on only if they accept it.")).to_be_visible()
    expect(page.get_by_role("radiogroup", name="Kind of correction")).to_be_visible()
    page.get_by_label("The reply").fill("Good evening!")
    page.get_by_role("button", name="Save the correction").click()
    expect(page.locator(".corrected")).to_contain_text("Kept for the team")
    page.get_by_role("button", name="中文").click()
    expect(page.locator(".corrected")).to_contain_text("已保存，供团队参考")
    assert [piece.role for piece in runtime.feedback.list()] == ["user"]


def test_the_key_is_asked_for_until_it_is_right(studio: Any, tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("DESK_KEYS", "right-key")
    project = write_small_project(tmp_path / "desk", '[serve]\napi_keys_env = "DESK_KEYS"\n')
    page, _ = studio(runtime=scripted_runtime(project, lambda _: ScriptedGenerator()))
    dialog = page.get_by_role("dialog", name="This server asks for an API key")
    expect(dialog).to_be_visible()
    expect(dialog.get_by_role("alert")).to_be_hidden()
    for _ in range(3):
        page.keyboard.press("Escape")
    expect(dialog).to_be_visible()
    dialog.get_by_label("API key").fill("wrong-key")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("alert")).to_have_text("The server refused this key. Check it and try again.")
    dialog.get_by_label("API key").fill("right-key")
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("heading", name="Good to see you.")).to_be_visible()


def test_a_reply_is_corrected_to_a_call_of_another_tool(studio: Any) -> None:
    page, runtime = studio(["Which area?"])
    say(page, "A table on the terrace on 4 March for two")
    page.get_by_role("button", name="What should it have said?").click()
    page.get_by_text("A tool call").click()
    page.get_by_label("The tool", exact=True).select_option("find_table")
    page.get_by_label("day").fill("2026-03-04")
    page.get_by_label("guests").fill("2")
    page.get_by_label("area").select_option("terrace")
    page.get_by_role("button", name="Save the correction").click()
    expect(page.locator(".corrected")).to_be_visible()
    [stored] = runtime.feedback.list()
    assert stored.value["tool_calls"][0]["function"]["arguments"] == '{"day": "2026-03-04", "guests": 2, "area": "terrace"}'


def test_stopping_cancels_and_the_conversation_goes_on(studio: Any) -> None:
    answers = iter(["A long answer, " * 50, "Short."])
    generator = Gated(lambda _: next(answers))
    page, runtime = studio(generator)
    say(page, "Tell me everything")
    expect(page.locator("noria-answer .said").first).to_contain_text("A long")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("Stopped.")).to_be_visible()
    until(lambda: "noria_cancelled_chats_total 1.0" in page.request.get(urljoin(page.url, "/metrics")).text())  # the server knows it
    say(page, "In short?")
    generator.go.set()
    expect(page.get_by_text("Short.", exact=True)).to_be_visible()
    assert generator.num_cancelled == 1
    [conversation] = runtime.traces.conversations()
    until(lambda: [turn.state for turn in runtime.traces.turns(conversation.id)] == ["cancelled", "done"])


def test_a_promoted_release_shows_without_a_reload(studio: Any) -> None:
    page, runtime = studio(lambda _: "Hello!")
    say(page, "Hi")
    expect(page.get_by_role("button", name="Good answer")).to_be_visible()
    expect(page.locator(".top .live")).to_have_text("r1")
    page.get_by_role("tab", name="Releases").click()
    expect(page.get_by_role("article", name="r1")).to_contain_text("live")
    name = candidate(runtime)
    card = page.get_by_role("article", name="r2")
    expect(card).to_contain_text("Better: allowed to go live")
    row = card.get_by_role("row", name="task-success")
    for text in ("120", "0.250", "0.650", "+0.400", "exact McNemar", "passed", "< 0.0001"):
        expect(row).to_contain_text(text)
    expect(row).to_contain_text("Better on `task-success`")
    expect(row.get_by_role("img", name="task-success: effect +0.400, interval +0.310 to +0.490")).to_be_visible()
    runtime.releases.move(name, "live", "better")
    expect(page.locator(".top .live")).to_have_text("r2")
    expect(card.locator(".badge")).to_have_text("live")
    page.get_by_role("tab", name="Chat").click()
    expect(page.get_by_text("r2 is live now. This conversation stays with r1")).to_be_visible()
    page.locator(".newer").get_by_role("button", name="New conversation").click()
    say(page, "Hi again")
    expect(page.get_by_role("button", name="Good answer")).to_be_visible()
    assert runtime.traces.conversations()[0].release_id == name


def test_an_operator_promotes_and_rolls_back(studio: Any) -> None:
    page, runtime = studio([])
    candidate(runtime)
    page.get_by_role("tab", name="Releases").click()
    page.get_by_role("article", name="r2").get_by_role("button", name="Promote").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Let r2 go live?")
    dialog.get_by_label("Reason").fill("looks good")
    dialog.get_by_role("button", name="Promote").click()
    expect(page.get_by_text("r2 is live.")).to_be_visible()
    page.get_by_role("article", name="r1").get_by_role("button", name="Roll back to this").click()
    page.get_by_role("dialog").get_by_role("button", name="Roll back").click()
    expect(page.locator(".top .live")).to_have_text("r1")
    assert "looks good" in [move.reason for move in runtime.releases.moves("r2")]


def test_the_language_is_switched_and_remembered(studio: Any) -> None:
    page, _ = studio(["Hello."])
    say(page, "Hi")
    expect(page.get_by_role("button", name="Good answer")).to_be_visible()
    page.get_by_role("button", name="中文").click()
    expect(page.get_by_role("tab", name="对话")).to_be_visible()
    expect(page.get_by_role("button", name="回答得好")).to_be_visible()
    expect(page.get_by_text("Hello.", exact=True)).to_be_visible()
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    page.reload()
    expect(page.get_by_role("tab", name="版本")).to_be_visible()
    page.get_by_role("tab", name="版本").click()
    expect(page.get_by_role("article", name="r1")).to_contain_text("已上线")
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("article", name="r1")).to_contain_text("live")


def test_a_chinese_browser_begins_in_chinese(studio: Any) -> None:
    page, _ = studio([], extra_http_headers={}, color_scheme="dark", viewport={"width": 390, "height": 780})
    page.evaluate("localStorage.setItem('noria.language', 'zh')")
    page.reload()
    expect(page.get_by_role("heading", name="很高兴见到您。")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_page_of_a_chinese_project_begins_in_chinese_until_someone_chooses(studio: Any) -> None:
    page, _ = studio([])
    expect(page.locator("html")).to_have_attribute("lang", "en")
    told = page.evaluate("fetch('/v1/project').then((answer) => answer.json())")
    page.route("**/v1/project", lambda route: route.fulfill(json={**told, "language": "zh"}))
    page.reload()
    expect(page.get_by_role("tab", name="对话")).to_be_visible()
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    page.get_by_role("tab", name="版本").click()
    page.get_by_text("备注").click()
    expect(page.get_by_role("article", name="r1").locator("dd", has_text="原始基础模型")).to_be_visible()
    page.unroute("**/v1/project")
    late: list[Any] = []
    page.route("**/v1/project", lambda route: late.append(route) if not late else route.fulfill(json={**told, "language": "zh"}))
    page.reload()
    expect(page.get_by_role("article", name="r1")).to_contain_text("made ")  # drawn before the project's language is known
    late[0].fulfill(json={**told, "language": "zh"})
    expect(page.get_by_role("article", name="r1")).to_contain_text(re.compile("年.*月"))
    page.get_by_role("button", name="English").click()
    page.reload()
    expect(page.get_by_role("tab", name="Chat")).to_be_visible()


ENGLISH = """() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
  const texts = [];
  for (let node = walker.currentNode; node; node = walker.nextNode()) {
    if (node.nodeType === 3) texts.push(node.parentElement.closest('noscript, [lang=en]') ? '' : node.data);
    else if (!node.closest('[lang=en]')) texts.push(...['aria-label', 'title', 'placeholder'].map((name) => node.getAttribute(name) ?? ''));
  }
  return texts.join('\\n').match(/[A-Za-z][A-Za-z_-]*[A-Za-z]/g) ?? [];
}"""
NAMES_AND_CODES = {
    *("desk", "book_table", "find_table", "search_knowledge", "day", "at", "guests", "name", "Wang", "booking"),
    *("task-success", "manners", "McNemar", "Enter", "Shift"),
}


def test_the_chinese_page_shows_no_english(studio: Any) -> None:
    answers: Iterator[Any] = iter([*BOOKING[:1], "好的。", ModelError("The engine stopped. Restart it.")])
    page, runtime = studio(lambda _: next(answers))
    page.evaluate("localStorage.setItem('noria.language', 'zh')")
    page.reload()
    page.get_by_label("您的消息").fill("订位")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="它本该怎么说？").click()
    page.get_by_role("button", name="保存纠正").click()
    expect(page.get_by_text("它本来就是这么说的")).to_be_visible()
    page.get_by_label("您的消息").fill("再订一次")
    page.keyboard.press("Enter")
    expect(page.get_by_text("没有得到回答：模型引擎暂时不可用")).to_be_visible()
    candidate(runtime)
    page.get_by_role("tab", name="版本").click()
    expect(page.get_by_role("article", name="r2")).to_contain_text("`task-success` 上更好：")
    parts = {word for text in page.locator(".parts dt, .parts dd").all_text_contents() for word in re.findall(r"[A-Za-z][A-Za-z_-]*[A-Za-z]", text)}
    assert set(page.evaluate(ENGLISH)) - parts <= NAMES_AND_CODES


def test_hostile_text_is_shown_as_text(studio: Any) -> None:
    hostile = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script><a href=\"javascript:void 0\">x</a>"
    page, runtime = studio([{"search_knowledge": {"query": hostile}}, {"book_table": {"day": hostile}}, hostile])
    say(page, hostile)
    expect(page.locator("noria-answer > .said")).to_have_text(hostile)
    expect(page.locator(".user .said")).to_have_text(hostile)
    for step in page.locator("details.step > summary").all():
        step.click()
    made = runtime.releases.add(runtime.releases.live().artifacts, None, {"note": hostile})
    page.get_by_role("tab", name="Releases").click()
    card = page.get_by_role("article", name=f"r{made.number}")
    card.get_by_text("Notes").click()
    expect(card).to_contain_text(hostile)
    assert page.title() == "desk · Noria"
    assert page.locator("main img:not([role]), main script, main a").count() == 0


def test_a_conversation_survives_a_reload(studio: Any) -> None:
    page, runtime = studio([*BOOKING, "Welcome."])
    say(page, "A table")
    expect(page.get_by_text("Your table is booked")).to_be_visible()
    expect(page.get_by_role("button", name="Good answer")).to_be_visible()
    page.reload()
    expect(page.get_by_text("Your table is booked")).to_be_visible()
    expect(page.locator("details.step", has_text="book_table")).to_be_visible()
    say(page, "Thanks")
    expect(page.get_by_text("Welcome.")).to_be_visible()
    assert len(runtime.traces.conversations()) == 1


class Cut(ScriptedGenerator):
    """Every answer ends where no more tokens were allowed."""

    def stream(self, request: GenerationRequest) -> Iterator[Delta | Generation]:
        for item in super().stream(request):
            yield item.model_copy(update={"finish_reason": "length"}) if isinstance(item, Generation) else item


@pytest.mark.parametrize(("answer", "num_told"), [("First you take the left", 1), ("", 0)])
def test_an_answer_that_was_cut_off_says_so_and_an_apology_does_not(studio: Any, answer: str, num_told: int) -> None:
    page, _ = studio(Cut(lambda _: answer))
    say(page, "Where is the pool?")
    for _ in range(2):
        expect(page.get_by_role("button", name="Good answer")).to_be_visible()
        expect(page.get_by_text("The answer was cut off here")).to_have_count(num_told)
        page.reload()


def test_what_was_said_of_an_answer_is_there_after_a_reload(studio: Any) -> None:
    page, runtime = studio(BOOKING)
    say(page, "A table")
    page.get_by_role("button", name="Bad answer").click()
    page.get_by_role("button", name="What should it have said?").click()
    page.get_by_label("The reply").fill("Your table is booked for Wednesday at seven.")
    page.get_by_role("button", name="Save the correction").click()
    expect(page.locator(".corrected")).to_contain_text("at seven")
    [receipt] = {piece.receipt for piece in runtime.feedback.list()}
    runtime.feedback.add(receipt, "demonstration", "Somebody else's words.", "eva", "operator")
    page.reload()
    expect(page.locator(".corrected")).to_contain_text("Your table is booked for Wednesday at seven.")
    expect(page.get_by_role("button", name="Bad answer")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("button", name="Good answer")).to_have_attribute("aria-pressed", "false")
    expect(page.locator(".corrected")).to_have_count(1)


def test_an_error_is_told_and_can_be_tried_again(studio: Any) -> None:
    answers: Iterator[Any] = iter([ModelError("The engine stopped. Restart it."), "Now it works."])
    page, _ = studio(lambda _: next(answers))
    say(page, "Hi")
    expect(page.get_by_text("No answer: The engine stopped. Restart it.")).to_be_visible()
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_text("Now it works.")).to_be_visible()
    assert page.locator(".user").count() == 1


def test_the_keyboard_is_enough(studio: Any) -> None:
    page, runtime = studio(["Hello."])
    expect(page.get_by_label("Your message")).to_be_focused()
    page.keyboard.type("Hi")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("there")
    page.keyboard.press("Enter")
    expect(page.locator(".user .said")).to_have_text("Hi\nthere")
    page.get_by_label("Your message").fill("ni hao")
    page.get_by_label("Your message").dispatch_event("keydown", {"key": "Enter", "keyCode": 229, "bubbles": True, "cancelable": True})
    expect(page.get_by_label("Your message")).to_have_value("ni hao")
    correct = page.get_by_role("button", name="What should it have said?")
    correct.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("The reply")).to_be_focused()
    page.keyboard.press("Escape")
    expect(correct).to_be_focused()
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.get_by_role("button", name="Copy the answer").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Copied", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Copy the answer")).to_be_focused()
    good = page.get_by_role("button", name="Good answer")
    good.focus()
    page.keyboard.press("Enter")
    until(lambda: len(runtime.feedback.list()) == 1)
    page.get_by_role("tab", name="Chat").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Releases")).to_be_focused()
    expect(page.get_by_role("heading", name="Releases")).to_be_visible()


def test_a_long_chat_stays_fast(studio: Any) -> None:
    """The page only ever appends: a piece of the 200th answer changes nothing of the answers before it."""
    page, runtime = studio(ScriptedGenerator(lambda _: "Water lifts the wheel. " * 20, context_tokens=100_000))
    live = runtime.releases.live()
    conversation = runtime.traces.start_conversation(live.id, "ann", runtime.clock.now().date(), {"mode": "agent", "channel": "http"})
    for number in range(200):
        turn = runtime.traces.start_turn(conversation.id, [Message(role="user", content=f"Question {number}")])
        runtime.traces.finish_turn(turn.id, "done", Message(role="assistant", content="Water lifts the wheel. " * 20))
    page.evaluate("id => sessionStorage.setItem('noria.conversation', id)", conversation.id)
    page.reload()
    expect(page.get_by_text("Question 199")).to_be_visible()
    page.evaluate(
        """() => {
          window.touched = 0;
          const last = document.querySelector('.log').lastElementChild;
          new MutationObserver((changes) => {
            window.touched += changes.filter((change) => last.compareDocumentPosition(change.target) & Node.DOCUMENT_POSITION_PRECEDING
              && !change.target.classList?.contains('log')).length;
          }).observe(document.querySelector('.log'), { childList: true, characterData: true, subtree: true, attributes: true });
        }"""
    )
    say(page, "And once more?")
    expect(page.locator("noria-answer").last.get_by_role("button", name="Good answer")).to_be_visible()
    assert page.evaluate("window.touched") == 0


def test_the_embedded_model_talks_in_the_page(studio: Any, tmp_path: Any) -> None:
    runtime = Runtime.open(write_small_project(tmp_path / "real", "[agent]\nmax_tokens = 24\n"))
    page, _ = studio(runtime=runtime)
    say(page, "Say hello.")
    expect(page.get_by_role("button", name="Good answer").or_(page.get_by_role("alert"))).to_be_visible(timeout=90_000)
    text = page.locator("noria-answer > .said").inner_text()
    [conversation] = runtime.traces.conversations()
    [turn] = runtime.traces.turns(conversation.id)
    assert turn.state == "done"
    assert turn.answer is not None
    assert re.sub(r"\s+", " ", text).strip() == re.sub(r"\s+", " ", turn.answer.content).strip()
