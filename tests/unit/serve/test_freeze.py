"""The first release, what is frozen, and what happens when a part of a release is damaged or the server was killed."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from noria.errors import ConfigError
from noria.schema import Generator, Message, Release
from noria.serve import Runtime, first_release, freeze
from noria.serve.freeze import changed_parts
from noria.serve.serving import Serving
from noria.store import ArtifactStore
from noria.testing import ScriptedGenerator
from noria.testing.project import scripted_runtime, write_small_project
from noria.testing.server import served


def test_the_first_release_is_made_once_from_the_base_model(tmp_path: Path) -> None:
    project = write_small_project(tmp_path)
    runtime = scripted_runtime(project, lambda _: ScriptedGenerator())
    live = runtime.releases.live()
    assert live is not None
    assert (live.number, live.state, live.parent_id) == (1, "live", None)
    assert live.artifacts["engine"] == "smollm2-135m"
    assert set(live.artifacts) == {"engine", "prompts", "tools", "knowledge"}
    assert first_release(project, runtime.releases, runtime.artifacts).id == live.id
    assert len(runtime.releases.list()) == 1
    runtime.close()


def test_weights_that_are_not_there_make_no_release(tmp_path: Path) -> None:
    project = write_small_project(tmp_path, '[model]\nbase = "nosuchmodel"\n')
    with pytest.raises(ConfigError, match="No model 'nosuchmodel'"):
        Runtime.open(project)
    project = write_small_project(tmp_path, '[model]\nbase = "smollm2-135m"\n')
    runtime = Runtime.open(project)
    [first] = runtime.releases.list()
    assert first.artifacts["engine"] == "smollm2-135m"
    runtime.close()


def test_a_prompt_that_is_not_there_makes_no_release(tmp_path: Path) -> None:
    project = write_small_project(tmp_path, '[agent]\nprompt = "prompts/none.md"\n')
    with pytest.raises(ConfigError, match=r"The system prompt '.*none\.md' is missing"):
        Runtime.open(project)
    runtime = Runtime.open(write_small_project(tmp_path))
    assert [release.number for release in runtime.releases.list()] == [1]
    runtime.close()


def test_the_same_files_freeze_to_the_same_parts(tmp_path: Path) -> None:
    project = write_small_project(tmp_path)
    store = ArtifactStore(project.artifacts_dir)
    parts = freeze(project, store)
    assert freeze(project, store) == parts
    (tmp_path / "prompts" / "system.md").write_text("You are somebody else.")
    changed = freeze(project, store)
    assert [part for part in parts if parts[part] != changed[part]] == ["prompts"]
    prompts = store.verify(parts["prompts"]).path
    assert (prompts / "prompts" / "system.md").read_text() == "You are the desk of a restaurant."


def test_parts_that_changed_since_the_release_are_told(tmp_path: Path) -> None:
    project = write_small_project(tmp_path)
    runtime = scripted_runtime(project, lambda _: ScriptedGenerator())
    live = runtime.releases.live()
    assert live is not None
    assert changed_parts(project, runtime.artifacts, live) == []
    (tmp_path / "knowledge" / "more.md").write_text("# Dinner\n\nAt seven.")
    assert changed_parts(project, runtime.artifacts, live) == ["knowledge"]
    runtime.close()


def test_a_project_without_a_prompt_makes_no_release(tmp_path: Path) -> None:
    project = write_small_project(tmp_path)
    (tmp_path / "tools.py").write_text("def broken(:")
    with pytest.raises(ConfigError, match=r"tools\.py:1"):
        scripted_runtime(project, lambda _: ScriptedGenerator())


def test_a_damaged_release_leaves_the_last_good_one_serving(desk: Any) -> None:
    served_desk = desk(lambda _: "Hello!")
    runtime: Runtime = served_desk.runtime
    live = runtime.releases.live()
    assert live is not None
    first = served_desk.chat("Hi").headers["x-noria-conversation"]
    broken = runtime.releases.add({**live.artifacts, "prompts": "0" * 64}, live.id)
    runtime.releases.move(broken.id, "live", "promoted, then damaged")
    answer = served_desk.chat("Hi")
    assert answer.json()["noria"]["release"] == "r1"
    assert served_desk.chat("More", conversation=first).status_code == 200
    ready = served_desk.client.get("/readyz").json()
    assert ready["live"] == "r2"
    assert "0000" in ready["broken"]["r2"]
    asked = served_desk.chat("Hi", model="desk@r2")
    assert (asked.status_code, asked.json()["error"]["code"]) == (503, "release_unavailable")


def test_a_changed_file_of_an_artifact_is_refused(desk: Any) -> None:
    served_desk = desk(lambda _: "Hello!")
    live = served_desk.runtime.releases.live()
    path = served_desk.runtime.artifacts.get(live.artifacts["prompts"]).path / "prompts" / "system.md"
    path.write_text("Say yes to everything.")
    again = served_desk.runtime.releases.add(live.artifacts, live.id)
    refused = served_desk.chat("Hi", model=f"desk@r{again.number}")
    assert refused.status_code == 503
    assert "system.md" in refused.json()["error"]["message"]


def test_a_turn_that_a_kill_left_open_is_finished_at_the_next_start(tmp_path: Path) -> None:
    project = write_small_project(tmp_path)
    before = scripted_runtime(project, lambda _: ScriptedGenerator())
    live = before.releases.live()
    assert live is not None
    started = before.traces.start_conversation(live.id, "ann", before.clock.now().date(), {"channel": "http", "mode": "agent"})
    turn = before.traces.start_turn(started.id, [Message(role="user", content="Hi")])
    elsewhere = before.traces.start_conversation(live.id, "ann", before.clock.now().date(), {})
    other = before.traces.start_turn(elsewhere.id, [Message(role="user", content="Hi")])
    before.close()
    runtime = scripted_runtime(project, lambda _: ScriptedGenerator(["Hello again!"]))
    with served(runtime):
        finished = _when(lambda: (found := runtime.traces.turn(turn.id)) is not None and found.state == "done")
        assert finished
        assert runtime.traces.turn(turn.id).answer == Message(role="assistant", content="Hello again!")  # type: ignore[union-attr]
        assert runtime.traces.turn(other.id).state == "open"  # type: ignore[union-attr]  # another process's


def _when(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_the_engine_of_a_release_is_its_own(tmp_path: Path) -> None:
    project = write_small_project(tmp_path)
    made: list[int] = []

    def generator(release: Release) -> Generator:
        made.append(release.number)
        return ScriptedGenerator(lambda _: f"I am r{release.number}.")

    runtime = scripted_runtime(project, generator)
    first = runtime.releases.live()
    assert first is not None
    second = runtime.releases.add(first.artifacts, first.id)
    with runtime.engines.lease(first) as one, runtime.engines.lease(second) as two:
        assert isinstance(one, Serving)
        assert one.generator is not two.generator
    assert made == [1, 2]
    runtime.close()
