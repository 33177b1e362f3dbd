"""A folder is claimed by what was asked for, and by nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest

from noria.errors import ArtifactError, ConfigError, StoreError
from noria.store import check_claim, claim, content_mark, finished, is_as_it_was, refuse_other, sizes


def request(files: list[Path], **settings: Any) -> dict[str, Any]:
    return {"settings": settings, "files": sizes(files)}


def test_the_same_request_goes_on_and_another_is_told_what_differs(tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text("One.")
    out, scratch = tmp_path / "out", tmp_path / "out/.run"
    claim(out, scratch, request([text], width=64, rate=None), "noria it")
    claim(out, scratch, request([text], width=64, rate=None), "noria it")
    with pytest.raises(ConfigError, match="`width` was 64 and is 128; `rate` was None and is 1") as caught:
        claim(out, scratch, request([text], width=128, rate=1), "noria it")
    assert str(out) in str(caught.value)
    text.write_text("Two, longer.")
    with pytest.raises(ConfigError, match="begun with other files, or they have changed"):
        claim(out, scratch, request([text], width=64, rate=None), "noria it")


def test_a_label_put_right_makes_other_files_of_the_same_size(tmp_path: Path) -> None:
    text, out, scratch = tmp_path / "a.jsonl", tmp_path / "out", tmp_path / "out/.run"
    text.write_text('{"text": "a", "label": "0"}')
    before = request([text])
    claim(out, scratch, before, "noria it")
    assert is_as_it_was(before["files"][0])
    text.write_text('{"text": "a", "label": "1"}')
    with pytest.raises(ConfigError, match="or they have changed since"):
        claim(out, scratch, request([text]), "noria it")
    assert not is_as_it_was(before["files"][0])
    text.unlink()
    assert not is_as_it_was(before["files"][0])


def test_a_claim_of_an_earlier_version_is_held_against_what_it_tells(tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text("One.")
    old = {"settings": {}, "files": [entry[:2] for entry in sizes([text])]}
    refuse_other(tmp_path, old, {**request([text]), "weights": "abc"})
    assert is_as_it_was(old["files"][0])
    text.write_text("Three.")
    with pytest.raises(ConfigError, match="or they have changed since"):
        refuse_other(tmp_path, old, request([text]))
    with pytest.raises(ConfigError, match="or they have changed since"):
        refuse_other(tmp_path, {"settings": {}, "files": [3]}, request([text]))


def test_a_claim_without_what_can_be_set_now_is_not_said_to_be_repeatable(tmp_path: Path) -> None:
    before = {"settings": {"rate": 1.0}, "files": []}
    with pytest.raises(ConfigError, match="begun without `best`, or by another version"):
        refuse_other(tmp_path, before, {"settings": {"rate": 1.0, "best": 1}, "files": []})


def test_a_base_that_is_trained_anew_in_its_place_is_another(tmp_path: Path) -> None:
    for name, content in (("config.json", "{}"), ("model.safetensors", "a" * 3_000_000)):
        (tmp_path / name).write_text(content)
    before = content_mark(tmp_path)
    (tmp_path / "curve.svg").write_text("beside the point")
    assert content_mark(tmp_path) == before
    (tmp_path / "model.safetensors").write_text("a" * 2_999_999 + "b")
    assert content_mark(tmp_path) != before
    assert content_mark(tmp_path / "config.json") == content_mark(tmp_path / "config.json") != before
    with pytest.raises(ConfigError, match="The base of .* has changed"):
        refuse_other(tmp_path, {"settings": {}, "weights": before}, {"settings": {}, "weights": content_mark(tmp_path)})


def test_a_strangers_folder_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("All my work.")
    with pytest.raises(ConfigError, match="not empty and was not begun by `noria it`"):
        claim(tmp_path, tmp_path / ".run", request([]), "noria it")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_folder_is_looked_at_and_left_unclaimed(tmp_path: Path) -> None:
    out, scratch = tmp_path / "out", tmp_path / "out/.run"
    check_claim(out, scratch, request([]), "noria it")
    assert not out.exists()
    claim(out, scratch, request([], width=64), "noria it")
    with pytest.raises(ConfigError, match="`width` was 64 and is 65"):
        check_claim(out, scratch, request([], width=65), "noria it")


def test_a_place_that_cannot_hold_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file/out"):
        claim(tmp_path / "file/out", tmp_path / "file/out/.run", request([]), "noria it")


def test_what_is_finished_is_held_against_the_settings_alone(tmp_path: Path) -> None:
    refuse_other(tmp_path, {"settings": {"width": 64}}, {"settings": {"width": 64}})
    with pytest.raises(ConfigError, match="`width` was 64 and is 65"):
        refuse_other(tmp_path, {"settings": {"width": 64}}, {"settings": {"width": 65}})


def test_a_finished_folder_tells_of_itself_and_loses_what_a_kill_left(tmp_path: Path) -> None:
    scratch = tmp_path / ".run"
    claim(tmp_path, scratch, request([], width=64), "noria it")
    assert finished(tmp_path, "done.json", scratch, request([], width=64), "metrics") is None
    (tmp_path / "done.json").write_text(json.dumps({"request": request([], width=64), "metrics": {"loss": 1.0}}))
    with pytest.raises(ConfigError, match="`width` was 64 and is 65"):
        finished(tmp_path, "done.json", scratch, request([], width=65), "metrics")
    assert scratch.is_dir()
    told = finished(tmp_path, "done.json", scratch, request([], width=64), "metrics")
    assert told is not None
    assert told["metrics"] == {"loss": 1.0}
    assert not scratch.exists()
    with pytest.raises(ArtifactError, match="another version"):
        finished(tmp_path, "done.json", scratch, request([], width=64), "metrics", "plan")


@pytest.mark.parametrize("written", ["", "{", "[]", "null", '{"files": []}', '{"settings": 3, "files": []}', '{"model": "x", "width": 3}'])
def test_a_request_that_is_damaged_or_of_another_version_gets_one_sentence(tmp_path: Path, written: str) -> None:
    out, scratch = tmp_path / "out", tmp_path / "out/.run"
    claim(out, scratch, request([], width=64), "noria it")
    (scratch / "request.json").write_text(written)
    with pytest.raises(ArtifactError, match="delete the folder"):
        claim(out, scratch, request([], width=64), "noria it")
    assert (scratch / "request.json").read_text() == written
