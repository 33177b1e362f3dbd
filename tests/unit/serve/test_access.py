"""Who may ask what."""

from typing import Any

import pytest

from noria.config import Project
from noria.errors import ConfigError
from noria.serve import ServeConfig
from noria.testing.project import write_small_project

KEYS = '[serve]\napi_keys_env = "DESK_KEYS"\noperator_keys_env = "DESK_OPERATORS"\n'


def error(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


@pytest.fixture
def keyed(desk: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("DESK_KEYS", "ann-key, bob-key")
    monkeypatch.setenv("DESK_OPERATORS", "chief-key")
    return desk(lambda _: "Hello!", KEYS)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_without_a_key_only_the_page_and_the_health_are_open(keyed: Any) -> None:
    assert error(keyed.chat("Hi")) == (401, "invalid_api_key")
    assert error(keyed.chat("Hi", headers=bearer("wrong"))) == (401, "invalid_api_key")
    assert error(keyed.client.get("/metrics")) == (401, "invalid_api_key")
    assert keyed.client.get("/healthz").status_code == 200
    assert keyed.client.get("/").status_code == 200
    assert keyed.client.get("/studio/app.js").status_code == 200


def test_users_chat_and_operators_may_more(keyed: Any) -> None:
    answer = keyed.chat("Hi", headers=bearer("bob-key"))
    assert answer.status_code == 200
    body = {"receipt": answer.json()["id"], "kind": "thumb", "value": True, "role": "operator"}
    assert error(keyed.client.post("/v1/feedback", json=body, headers=bearer("bob-key"))) == (403, "operator_only")
    assert keyed.client.post("/v1/feedback", json=body, headers=bearer("chief-key")).status_code == 201
    assert error(keyed.client.post("/v1/releases/r1/promote", json={}, headers=bearer("bob-key"))) == (403, "operator_only")
    assert keyed.client.get("/v1/project", headers=bearer("bob-key")).json()["operator"] is False
    assert keyed.client.get("/v1/project", headers=bearer("chief-key")).json()["operator"] is True


def test_users_see_of_the_feedback_what_the_user_of_the_conversation_said(keyed: Any) -> None:
    chat = keyed.chat("Hi", user="ann", headers=bearer("ann-key"))
    receipt, conversation = chat.json()["id"], chat.headers["x-noria-conversation"]
    for key, said in [
        ("ann-key", {"kind": "thumb", "value": True, "source": "ann"}),
        ("bob-key", {"kind": "comment", "value": "Bob's.", "source": "bob"}),
        ("bob-key", {"kind": "comment", "value": "Nobody's."}),
        ("chief-key", {"kind": "comment", "value": "The chief's.", "source": "ann", "role": "operator"}),
    ]:
        assert keyed.client.post("/v1/feedback", json={"receipt": receipt, **said}, headers=bearer(key)).status_code == 201

    def seen(key: str) -> list[list[Any]]:
        told = keyed.client.get(f"/v1/receipts/{receipt}", headers=bearer(key)).json()["feedback"]
        (turn,) = keyed.client.get(f"/v1/conversations/{conversation}", headers=bearer(key)).json()["turns"]
        assert told == turn["feedback"]
        return [[piece["source"], piece["value"]] for piece in told]

    assert seen("ann-key") == [["ann", True]]
    assert seen("chief-key") == [["ann", True], ["bob", "Bob's."], ["anonymous", "Nobody's."], ["ann", "The chief's."]]


def test_a_foreign_host_name_is_refused(desk: Any) -> None:
    served = desk([])
    assert error(served.client.get("/healthz", headers={"Host": "evil.example"})) == (403, "host_not_allowed")
    assert served.client.get("/healthz", headers={"Host": "localhost:1234"}).status_code == 200


def test_another_page_cannot_ask(desk: Any) -> None:
    served = desk([])
    assert error(served.chat("Hi", headers={"Origin": "https://evil.example"})) == (403, "origin_not_allowed")
    plain = served.client.post("/v1/feedback", content=b"{}", headers={"Content-Type": "text/plain"})
    assert error(plain) == (415, "unsupported_media_type")
    own = served.client.get("/v1/project", headers={"Origin": served.url})
    assert own.status_code == 200
    assert "access-control-allow-origin" not in own.headers


def test_a_body_has_a_limit_whether_it_says_its_length_or_not(desk: Any) -> None:
    served = desk([], overrides={"max_body_bytes": 1_000})
    assert error(served.chat("x" * 2_000)) == (413, "body_too_large")
    pieces = (b" " * 600 for _ in range(3))
    chunked = served.client.post("/v1/chat/completions", content=pieces, headers={"Content-Type": "application/json"})
    assert error(chunked) == (413, "body_too_large")


def test_the_page_may_load_nothing_from_elsewhere(desk: Any) -> None:
    served = desk([])
    for path in ("/", "/studio/app.js"):
        headers = served.client.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"


def test_an_open_server_needs_keys(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    project: Project = write_small_project(tmp_path / "desk", '[serve]\nhost = "0.0.0.0"\n')
    with pytest.raises(ConfigError, match=r"'0\.0\.0\.0' is reachable from other machines"):
        project.section("serve", ServeConfig)
    monkeypatch.delenv("NO_SUCH_KEYS", raising=False)
    with pytest.raises(ConfigError, match="'NO_SUCH_KEYS', which is empty"):
        ServeConfig(host="0.0.0.0", api_keys_env="NO_SUCH_KEYS").api_keys()
