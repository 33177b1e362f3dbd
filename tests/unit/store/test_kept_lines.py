"""Lines kept as they are made: whole ones are found again, and a file of something else is told apart."""

from pathlib import Path

import pytest

from noria.store.kept_lines import keeping_lines, kept_lines

REQUEST = {"of": ("a", "b"), "text": "请求"}


def test_what_was_kept_is_found_and_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "made.jsonl"
    assert kept_lines(path, REQUEST) == []
    with pytest.raises(KeyboardInterrupt), keeping_lines(path, REQUEST, []) as append:
        append({"n": 1})
        append(["两", 2])
        assert path.read_text(encoding="utf-8").count("\n") == 3, "each stands there at once"
        raise KeyboardInterrupt
    found = kept_lines(path, REQUEST)
    assert found == [{"n": 1}, ["两", 2]]
    with keeping_lines(path, REQUEST, found[:1]) as append:
        append(3)
    assert kept_lines(path, REQUEST) == [{"n": 1}, 3]


def test_what_a_kill_or_a_power_cut_left_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "made.jsonl"
    with keeping_lines(path, REQUEST, [1, 2]):
        pass
    whole = path.read_bytes()
    path.write_bytes(whole + b"3")
    assert kept_lines(path, REQUEST) == [1, 2]
    path.write_bytes(whole + b"\x00\xff\n4\n")
    assert kept_lines(path, REQUEST) == [1, 2]
    path.write_bytes(b"")
    assert kept_lines(path, REQUEST) == []


@pytest.mark.parametrize("held", ["my notes", "my notes\nand more\n", '{"of": ["a"]}\n', "[]\n1\n", "\n\n", "\ufeff{}\n"])
def test_a_file_of_something_else_is_told_apart(tmp_path: Path, held: str) -> None:
    path = tmp_path / "made.jsonl"
    path.write_text(held, encoding="utf-8")
    assert kept_lines(path, REQUEST) is None
