"""Which conversation a request belongs to, which release answers, and what is new."""

from typing import Any

from noria.schema import Message


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def conversation(response: Any) -> str:
    assert response.status_code == 200, response.text
    return response.headers["x-noria-conversation"]


def said(desk: Any, conversation_id: str) -> list[str]:
    return [message.content for message in desk.runtime.traces.history(conversation_id)]


def test_a_client_that_sends_the_whole_history_is_recognised(desk: Any) -> None:
    served = desk([{"find_table": {"day": "2026-03-04", "guests": 2}}, "T4 is free.", "Done."])
    first = conversation(served.chat("A table?"))
    second = conversation(served.chat("", messages=[user("A table?"), assistant("T4 is free."), user("Take it")]))
    assert first == second
    assert [m.role for m in served.runtime.traces.history(first)] == ["user", "assistant", "tool", "assistant", "user", "assistant"]
    # The tool call and its result, which the client never saw, are part of the prompt.
    assert [m.role for m in served.generator.requests[-1].messages] == ["system", "user", "assistant", "tool", "assistant", "user"]


def test_a_named_conversation_needs_only_what_is_new(desk: Any) -> None:
    served = desk(lambda request: f"{len(request.messages)} messages")
    first = conversation(served.chat("One"))
    for extra in ({"headers": {"x-noria-conversation": first}}, {"metadata": {"conversation_id": first}}, {"conversation": first}):
        assert conversation(served.chat("More", **extra)) == first
    assert said(served, first) == ["One", "2 messages", "More", "4 messages", "More", "6 messages", "More", "8 messages"]


def test_a_history_that_went_otherwise_begins_anew_or_is_refused(desk: Any) -> None:
    served = desk(lambda _: "Hello!")
    first = conversation(served.chat("Hi"))
    other = [user("Hi"), assistant("Go away!"), user("Why?")]
    second = conversation(served.chat("", messages=other))
    assert second != first
    assert said(served, second) == ["Hi", "Go away!", "Why?", "Hello!"]
    refused = served.chat("", messages=other, conversation=first)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conversation_mismatch")
    assert said(served, first) == ["Hi", "Hello!"]


def test_the_same_words_of_another_user_are_another_conversation(desk: Any) -> None:
    served = desk(lambda _: "Hello!")
    first = conversation(served.chat("Hi", user="ann"))
    history = [user("Hi"), assistant("Hello!"), user("And?")]
    assert conversation(served.chat("", messages=history, user="bob")) != first
    assert conversation(served.chat("", messages=history, user="ann")) == first
    assert served.runtime.traces.conversation(first).user_id == "ann"


def test_going_back_in_a_conversation_begins_another(desk: Any) -> None:
    served = desk(lambda request: f"To {request.messages[-1].content}")
    first = conversation(served.chat("A"))
    conversation(served.chat("", messages=[user("A"), assistant("To A"), user("B")]))
    branch = conversation(served.chat("", messages=[user("A"), assistant("To A"), user("C")]))
    assert branch != first
    assert said(served, first) == ["A", "To A", "B", "To B"]


def test_a_promotion_reaches_new_conversations_and_leaves_open_ones(desk: Any) -> None:
    served = desk(lambda _: "Hello!")
    releases = served.runtime.releases
    first = conversation(served.chat("Hi"))
    live = releases.live()
    newer = releases.add(live.artifacts, live.id)
    releases.move(newer.id, "live", "better")
    answer = served.chat("Still there?", conversation=first)
    assert answer.json()["noria"]["release"] == "r1"
    assert served.chat("Hi").json()["noria"]["release"] == "r2"
    assert served.chat("Hi", model="desk@r1").json()["noria"]["release"] == "r1"
    refused = served.chat("Switch", model="desk@r2", conversation=first)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conversation_mismatch")


def test_the_agent_and_the_model_alone_do_not_share_a_conversation(desk: Any) -> None:
    served = desk(lambda _: "Hello!")
    first = conversation(served.chat("Hi"))
    history = [user("Hi"), assistant("Hello!"), user("And?")]
    raw = conversation(served.chat("", messages=history, model="desk:raw"))
    assert raw != first
    refused = served.chat("And?", model="desk:raw", conversation=first)
    assert refused.status_code == 409


def test_instructions_of_a_client_are_kept(desk: Any) -> None:
    served = desk(lambda _: "Ja.")
    system = {"role": "system", "content": "Answer in German."}
    first = conversation(served.chat("", messages=[system, user("Is it open?")]))
    assert served.runtime.traces.history(first)[0] == Message(role="system", content="Answer in German.")
    assert conversation(served.chat("", messages=[system, user("Is it open?"), assistant("Ja."), user("Sure?")])) == first


def test_the_day_of_the_user_counts(desk: Any) -> None:
    served = desk(lambda _: "Hello!")
    first = conversation(served.chat("A table tomorrow", metadata={"today": "2026-03-03", "shop": "Wien"}))
    kept = served.runtime.traces.conversation(first)
    assert kept.today.isoformat() == "2026-03-03"
    assert kept.metadata["shop"] == "Wien"
    assert "2026-03-04" in served.runtime.traces.history(first)[0].hints


def test_a_turn_that_was_stopped_does_not_lock_its_conversation(desk: Any) -> None:
    served = desk(lambda _: "Hello!")
    first = conversation(served.chat("Hi"))
    stopped = served.runtime.traces.start_turn(first, [Message(role="user", content="Wait")])
    served.runtime.traces.finish_turn(stopped.id, "cancelled")
    history = [user("Hi"), assistant("Hello!")]
    assert conversation(served.chat("", messages=[*history, user("And?")], conversation=first)) == first
    assert said(served, first) == ["Hi", "Hello!", "Wait", "And?", "Hello!"]
