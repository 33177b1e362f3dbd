"""What is recorded, over HTTP: models, tools, feedback, receipts, conversations, releases, health, metrics."""

import json
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from noria.errors import DataError, ModelError
from noria.schema import GateReport, SuiteResult


def test_models_are_the_project_the_bare_model_and_every_release(desk: Any) -> None:
    served = desk([])
    listed = served.client.get("/v1/models").json()
    assert [model["id"] for model in listed["data"]] == ["desk", "desk:raw", "desk@r1"]
    assert served.client.get("/v1/models/desk").json()["object"] == "model"
    missing = served.client.get("/v1/models/gpt-5")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


def test_tools_are_told_with_their_schemas_and_effects(desk: Any) -> None:
    tools = desk([]).client.get("/v1/tools").json()["data"]
    assert [(tool["function"]["name"], tool["effect"]) for tool in tools] == [
        ("find_table", "reads"),
        ("book_table", "writes"),
        ("search_knowledge", "reads"),
    ]
    assert tools[0]["function"]["parameters"]["properties"]["area"]["enum"] == ["inside", "terrace"]


ARGUMENTS = '{"day": "2026-03-04", "guests": 2}'


def test_feedback_of_every_kind_is_bound_to_its_answer(desk: Any) -> None:
    served = desk(["Hello!"])
    receipt = served.chat("Hi").json()["id"]
    call = {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "find_table", "arguments": ARGUMENTS}}]}
    for kind, value in [
        ("thumb", True),
        ("score", 0.5),
        ("comment", "Too short."),
        ("demonstration", "Good evening!"),
        ("demonstration", call),
        ("preference", {"chosen": "Good evening!", "rejected": "Hello!"}),
        ("outcome", {"success": False}),
        ("implicit", {"signal": "asked again"}),
    ]:
        given = served.post("/v1/feedback", receipt=receipt, kind=kind, value=value, source="ann", step=0)
        assert given.status_code == 201, given.text
    stored = served.runtime.feedback.list(receipt=receipt)
    assert len(stored) == 8
    assert {f.source for f in stored} == {"ann"}
    assert {f.role for f in stored} == {"user"}
    assert len(served.client.get(f"/v1/receipts/{receipt}").json()["feedback"]) == 8


@pytest.mark.parametrize(
    ("body", "status", "words", "param"),
    [
        ({"kind": "thumb", "value": 1}, 400, "true or false", "value"),
        ({"kind": "score", "value": 2}, 400, "0 to 1", "value"),
        ({"kind": "applause", "value": True}, 400, "allowed: thumb", "kind"),
        ({"kind": "thumb", "value": True, "receipt": "turn_gone"}, 404, "turn_gone", "receipt"),
        ({"kind": "thumb"}, 400, "`value` is missing", "value"),
        ({"kind": "thumb", "value": True, "role": "boss"}, 400, "`role`", "role"),
        ({"kind": "demonstration", "value": {"role": "assistant", "tool_calls": 5}}, 400, "`tool_calls` must be a list, not 5", "value"),
        (
            {
                "kind": "demonstration",
                "value": {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "nope", "arguments": "{}"}}]},
            },
            400,
            "no tool 'nope' here; it had: find_table, book_table",
            "value",
        ),
        (
            {
                "kind": "demonstration",
                "value": {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "book_table", "arguments": '{"day": 3}'}}]},
            },
            400,
            "`book_table` does not take these arguments",
            "value",
        ),
    ],
)
def test_wrong_feedback_is_refused_and_nothing_stored(desk: Any, body: dict[str, Any], status: int, words: str, param: str) -> None:
    served = desk(["Hello!"])
    receipt = served.chat("Hi").json()["id"]
    refused = served.post("/v1/feedback", **({"receipt": receipt} | body))
    assert refused.status_code == status
    error = refused.json()["error"]
    assert words in error["message"]
    assert error["param"] == param
    assert served.runtime.feedback.list() == []


@pytest.mark.parametrize("value", ['{"signal": "seconds", "value": 1e400}', '{"signal": "\\ud800"}'])
def test_what_json_cannot_hold_is_refused(desk: Any, value: str) -> None:
    served = desk(["Hello!"])
    receipt = served.chat("Hi").json()["id"]
    body = f'{{"receipt": "{receipt}", "kind": "implicit", "value": {value}}}'
    refused = served.client.post("/v1/feedback", content=body, headers={"Content-Type": "application/json"})
    assert (refused.status_code, served.runtime.feedback.list()) == (400, [])


def calling(name: str, **function: Any) -> dict[str, Any]:
    return {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": name, **function}}]}


BOOKING = {"day": "2026-03-04", "at": "18:30", "guests": 2, "name": "Ann"}


@pytest.mark.parametrize(
    ("tool", "arguments", "fault"),
    [
        ("book_table", BOOKING, None),
        ("book_table", BOOKING | {"guests": "2"}, "`guests`: '2' is not of type 'integer'."),
        ("book_table", BOOKING | {"guests": True}, "`guests`: True is not of type 'integer'."),
        ("book_table", BOOKING | {"guests": 2.0}, "`guests`: 2.0 is not of type 'integer'."),
        ("book_table", BOOKING | {"guests": "2", "name": "Ann" * 20_000}, "`guests`: '2' is not of type 'integer'."),
        ("book_table", BOOKING | {"name": 5}, "`name`: 5 is not of type 'string'."),
        ("find_table", BOOKING | {"area": None}, "has no argument `at`"),
        ("find_table", {"day": "2026-03-04", "guests": 2, "area": None}, None),
        ("book_table", BOOKING | {"day": "tomorrow"}, "Argument `day` of `book_table` is 'tomorrow'; it must be a date as 2026-03-04."),
        ("book_table", BOOKING | {"guests": "two"}, "it must be a whole number"),
        ("search_knowledge", {"query": "breakfast"}, None),
        ("search_knowledge", {}, "'query' is a required property"),
    ],
)
def test_arguments_that_are_shown_are_those_that_the_agent_can_give_and_the_tool_takes(
    desk: Any, tool: str, arguments: Any, fault: str | None
) -> None:
    served = desk(["Hello!"])
    receipt = served.chat("Hi").json()["id"]
    given = served.post("/v1/feedback", receipt=receipt, kind="demonstration", value=calling(tool, arguments=json.dumps(arguments)))
    assert given.status_code == (201 if fault is None else 400), given.text
    assert fault is None or fault in given.json()["error"]["message"]


def test_a_call_without_arguments_is_a_call_with_none(desk: Any) -> None:
    tool = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {"zone": {"type": "string"}}}}}
    served = desk(["Hello!"])
    receipt = served.chat("Hi", tools=[tool]).json()["id"]
    for function in ({}, {"arguments": ""}, {"arguments": "{}"}, {"arguments": {}}):
        given = served.post("/v1/feedback", receipt=receipt, kind="demonstration", value=calling("now", **function))
        assert given.status_code == 201, given.text


@pytest.mark.parametrize(
    ("schema", "value", "status"),
    [
        ({"type": "string", "format": "date"}, "2026-03-04", 201),
        ({"type": "string", "format": "date"}, "tomorrow", 400),
        ({"type": "string", "format": "time"}, "half past six", 400),
        ({"type": "string", "format": "date-time"}, "2026-03-04T18:30", 201),
        ({"type": "integer"}, "2", 400),
        ({"type": "string", "pattern": r"\p{L}+"}, "Anna", 201),
        ({"type": "string", "pattern": "(a+)+$"}, "a" * 64 + "b", 201),
        ({"type": "object", "patternProperties": {r"\p{L}+": {}}, "additionalProperties": False}, {"a": 1}, 201),
        ({"type": "text"}, "Anna", 201),
        ({"$ref": "#/nowhere"}, "Anna", 201),
        ({"$ref": "#/properties/of"}, "Anna", 201),
        ({"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "null"}]}}, "Anna", 400),
        ({"type": "array", "items": {"enum": ["Anna", "Bob"], "description": "Who"}}, ["Ann"], 400),
        ({"type": "object", "required": ["name"], "properties": {"name": {"maxLength": 3}}}, {"name": "Anna"}, 400),
        ({"type": "object", "additionalProperties": False}, {"name": "Anna"}, 400),
    ],
)
def test_what_a_client_brought_is_held_to_as_far_as_it_can_be_read(desk: Any, schema: dict[str, Any], value: Any, status: int) -> None:
    tool = {"type": "function", "function": {"name": "ask", "parameters": {"type": "object", "properties": {"of": schema}}}}
    served = desk(["Hello!"])
    receipt = served.chat("Hi", tools=[tool]).json()["id"]
    given = served.post("/v1/feedback", receipt=receipt, kind="demonstration", value=calling("ask", arguments={"of": value}))
    assert given.status_code == status, given.text


def doubling(depth: int) -> dict[str, Any]:
    """A schema of a few lines whose every definition asks twice for the next."""
    return {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}, {"$ref": f"#/$defs/d{i + 1}"}]} for i in range(depth)} | {f"d{depth}": {}}


@pytest.mark.parametrize(
    ("parameters", "value"),
    [
        ({"$defs": doubling(30), "properties": {"of": {"$ref": "#/$defs/d0"}}}, "Anna"),
        ({"properties": {"of": {"uniqueItems": True}}}, [{"a": i} for i in range(20_000)]),
        ({"required": ["of"], "properties": {"of": {"$ref": "#/required"}}}, "Anna"),
        ({"properties": {"of": {"multipleOf": 0.1}}}, 10**400),
        ({"properties": {"of": {"type": [{}]}}}, "Anna"),
        ({"properties": ["of"]}, "Anna"),
    ],
    ids=["doubling", "unique", "reference", "multiple", "type", "properties"],
)
def test_no_schema_that_a_client_writes_stops_or_breaks_the_server(desk: Any, parameters: dict[str, Any], value: Any) -> None:
    tool = {"type": "function", "function": {"name": "ask", "parameters": {"type": "object", **parameters}}}
    served = desk(["Hello!"])
    receipt = served.chat("Hi", tools=[tool]).json()["id"]
    given = served.post("/v1/feedback", receipt=receipt, kind="demonstration", value=calling("ask", arguments={"of": value}))
    assert given.status_code == 201, given.text


@pytest.mark.parametrize("of", ["1" * 5_000, "[" * 100_000 + "]" * 100_000], ids=["digits", "depth"])
def test_arguments_that_cannot_be_read_are_refused(desk: Any, of: str) -> None:
    served = desk(["Hello!"])
    receipt = served.chat("Hi").json()["id"]
    given = served.post("/v1/feedback", receipt=receipt, kind="demonstration", value=calling("book_table", arguments=f'{{"of": {of}}}'))
    assert (given.status_code, "arguments` is not JSON" in given.text) == (400, True), given.text


def test_a_schema_elsewhere_is_not_fetched(desk: Any) -> None:
    fetched: list[str] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fetched.append(self.path)
            self.send_error(404)

    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as elsewhere:
        Thread(target=elsewhere.serve_forever, daemon=True).start()
        schema = {"$ref": f"http://127.0.0.1:{elsewhere.server_port}/schema.json"}
        tool = {"type": "function", "function": {"name": "ask", "parameters": {"type": "object", "properties": {"of": schema}}}}
        served = desk(["Hello!"])
        receipt = served.chat("Hi", tools=[tool]).json()["id"]
        given = served.post("/v1/feedback", receipt=receipt, kind="demonstration", value=calling("ask", arguments={"of": 1}))
        elsewhere.shutdown()
    assert (given.status_code, fetched) == (201, [])


def test_a_demonstration_is_held_against_the_tools_of_its_own_turn(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is live by then, and whether it can be loaded or not: nothing that people say is lost."""
    served = desk(["Hello!"])
    receipt = served.chat("Hi").json()["id"]

    def broken() -> None:
        raise ModelError("The weights are gone.")

    monkeypatch.setattr(served.runtime, "current", broken)
    call = {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "find_table", "arguments": ARGUMENTS}}]}
    given = served.post("/v1/feedback", receipt=receipt, kind="demonstration", value=call, source="ann", step=0)
    assert given.status_code == 201, given.text


def test_half_characters_in_a_field_are_answered_not_logged(desk: Any, caplog: pytest.LogCaptureFixture) -> None:
    served = desk([])
    for body in ('{"model": "desk", "messages": [{}], "temperature": "\\ud800"}', '{"model": "desk", "messages": [], "\\ud800": 1}'):
        answer = served.client.post("/v1/chat/completions", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["message"]
    assert "ud800" not in caplog.text


def test_a_receipt_tells_everything_an_answer_came_from(desk: Any) -> None:
    served = desk([{"search_knowledge": {"query": "breakfast"}}, {"book_table": {"day": "2026-03-04", "at": "8:00"}}, "From seven on."])
    answer = served.chat("When is breakfast?", user="ann").json()
    told = served.client.get(f"/v1/receipts/{answer['id']}").json()
    assert told["release"]["name"] == "r1"
    assert told["conversation"]["user_id"] == "ann"
    assert told["answer"]["content"] == "From seven on."
    assert [m["role"] for m in told["messages"]] == ["user", "assistant", "tool", "assistant", "tool", "assistant"]
    assert [(s["kind"], s["decision"]) for s in told["steps"]] == [("model", 0), ("retrieval", 0), ("model", 1), ("guard", 1), ("model", 2)]
    assert told["steps"][1]["query"] == "breakfast"
    assert told["steps"][3]["verdict"] == "retry"
    assert "18:30" in told["steps"][3]["result"]
    assert told["sources"][0]["title"] == "Breakfast"
    assert told["sources"][0]["document"] == "knowledge/breakfast.md"
    assert [m["role"] for m in told["prompt"]][:2] == ["system", "user"]
    assert told["usage"] == answer["usage"]
    assert served.client.get("/v1/receipts/turn_gone").status_code == 404


def test_a_conversation_is_shown_turn_by_turn(desk: Any) -> None:
    served = desk([{"find_table": {"day": "2026-03-04", "guests": 2}}, "T4.", "Bye!"])
    name = served.chat("A table?").headers["x-noria-conversation"]
    receipt = served.chat("Thanks", conversation=name).json()["id"]
    served.post("/v1/feedback", receipt=receipt, kind="thumb", value=True)
    shown = served.client.get(f"/v1/conversations/{name}").json()
    assert [[m["content"] for m in turn["messages"]] for turn in shown["turns"]] == [["A table?"], ["Thanks"]]
    assert [turn["answer"]["content"] for turn in shown["turns"]] == ["T4.", "Bye!"]
    assert [step["kind"] for step in shown["turns"][0]["steps"]] == ["model", "tool", "model"]
    assert [[piece["kind"] for piece in turn["feedback"]] for turn in shown["turns"]] == [[], ["thumb"]]
    assert served.client.get("/v1/conversations/conv_gone").status_code == 404


def report(candidate: str, live: str) -> GateReport:
    suite = SuiteResult(
        suite="success", role="objective", n=100, before=0.2, after=0.6, effect=0.4, interval=(0.3, 0.5), test="McNemar", p=0.0, alpha=0.01,
        passed=True, reason="",
    )  # fmt: skip
    return GateReport(
        candidate_id=candidate, live_id=live, decision="promote", reasons=("better",), suites=(suite,), alpha_spent=0.01, alpha_left=0.04,
        created_at=datetime.now(UTC),
    )  # fmt: skip


def test_releases_are_shown_with_their_reports_and_changed_by_whoever_owns_the_order(desk: Any) -> None:
    asked: list[tuple[str, str]] = []

    def promote(release_id: str, reason: str) -> Any:
        asked.append((release_id, reason))
        if reason == "because":
            raise DataError("The gate has not judged r2.")
        return served.runtime.releases.move(release_id, "live", reason)

    served = desk([], promote=promote, rollback=promote)
    releases = served.runtime.releases
    first = releases.live()
    second = releases.add(first.artifacts, first.id)
    releases.move(second.id, "canary", "gate", report(second.id, first.id))
    listed = served.client.get("/v1/releases").json()
    assert [(r["name"], r["state"], len(r["reports"])) for r in listed["data"]] == [("r2", "canary", 1), ("r1", "live", 0)]
    assert listed["may_change"] is True
    refused = served.post("/v1/releases/r2/promote", reason="because")
    assert (refused.status_code, refused.json()["error"]["message"]) == (409, "The gate has not judged r2.")
    assert served.post("/v1/releases/r2/promote", reason="better").json()["state"] == "live"
    assert served.post("/v1/releases/r1/rollback", reason="worse").json()["name"] == "r1"
    assert asked == [(second.id, "because"), (second.id, "better"), (first.id, "worse")]
    told = served.client.get("/v1/releases/r2").json()
    assert [move["to_state"] for move in told["moves"]] == ["canary", "live", "retired"]
    assert told["reports"][0]["suites"][0]["interval"] == [0.3, 0.5]
    assert served.post("/v1/releases/r9/promote").status_code == 404


def test_a_server_without_the_hooks_says_which_command_does_it(desk: Any) -> None:
    served = desk([])
    refused = served.post("/v1/releases/r1/promote")
    assert refused.status_code == 403
    assert "noria release promote r1" in refused.json()["error"]["message"]
    assert served.client.get("/v1/releases").json()["may_change"] is False


def test_health_and_metrics(desk: Any) -> None:
    served = desk(["Hello!"])
    assert served.client.get("/healthz").json()["status"] == "ok"
    served.chat("Hi")
    ready = served.client.get("/readyz")
    assert (ready.status_code, ready.json()["loaded"]) == (200, ["r1"])
    served.chat("Hi", model="nobody")
    text = served.client.get("/metrics").text
    assert 'noria_requests_total{route="/v1/chat/completions",status="200"} 1.0' in text
    assert 'noria_tokens_total{kind="completion"} 6.0' in text
    assert "noria_first_token_seconds_count 1.0" in text
    assert "noria_active_chats 0.0" in text
    assert 'noria_errors_total{code="model_not_found"} 1.0' in text
    assert "noria_live_release_number 1.0" in text


def test_unknown_addresses_have_openais_error_body(desk: Any) -> None:
    served = desk([])
    missing = served.client.get("/v2/chat")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    assert served.client.get("/v1/chat/completions").status_code == 405
    assert served.client.get("/studio/../app.py").status_code == 404
