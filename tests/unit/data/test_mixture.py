"""Mixtures: shares as the weights say, no row twice before every other, wrong parts refused."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noria.data import read_task
from noria.data.mixture import Part, mix
from noria.errors import ConfigError, DataError


def written(path: Path, count: int) -> Path:
    path.write_text("".join(json.dumps({"text": f"{path.stem} {i}", "label": path.stem}) + "\n" for i in range(count)), encoding="utf-8")
    return path


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    weights=st.lists(st.floats(0.01, 100), min_size=4, max_size=4),
    num_rows=st.none() | st.integers(1, 200),
    seed=st.integers(0, 5),
)
def test_shares_are_the_weights_and_rows_are_gone_through_whole(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], weights: list[float], num_rows: int | None, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    parts = [Part(path=written(folder / f"{i}.jsonl", size), weight=weights[i]) for i, size in enumerate(sizes)]
    made = mix(parts, "classify", folder / "mixed.jsonl", num_rows, seed)
    times = Counter((row.label, row.text) for row in read_task(folder / "mixed.jsonl", "classify"))  # type: ignore[union-attr]
    total, whole = sum(part["taken"] for part in made), sum(weights[: len(sizes)])
    assert times.total() == total == (num_rows or total)
    for i, (size, part) in enumerate(zip(sizes, made, strict=True)):
        counts = [times[(str(i), f"{i} {n}")] for n in range(size)]
        assert sum(counts) == part["taken"]
        assert abs(part["taken"] - total * weights[i] / whole) < 1 + 1e-6
        assert max(counts) - min(counts) <= 1
        if num_rows is None and total > 1:
            assert max(counts) <= 1


def test_without_a_number_the_scarcest_file_is_used_whole(tmp_path: Path) -> None:
    a, b = written(tmp_path / "a.jsonl", 90), written(tmp_path / "b.jsonl", 10)
    made = mix([Part.parse(f"{a}=3"), Part.parse(str(b))], "classify", tmp_path / "out.jsonl", None, 0)
    assert [(part["rows"], part["taken"]) for part in made] == [(90, 30), (10, 10)]


def test_a_seed_decides_all(tmp_path: Path) -> None:
    parts = [Part(path=written(tmp_path / f"{name}.jsonl", 20), weight=1) for name in "ab"]
    texts = []
    for seed in (1, 1, 2):
        mix(parts, "classify", tmp_path / "out.jsonl", 15, seed)
        texts.append((tmp_path / "out.jsonl").read_text(encoding="utf-8"))
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize("text", [*(f"a.jsonl={weight}" for weight in ("0", "-1", "many", "nan", "inf", "1e308", "1e-320", "1e-7", "1e7", "")), "=2"])
def test_a_wrong_part_is_told(text: str) -> None:
    with pytest.raises(ConfigError, match="weight from a millionth to a million"):
        Part.parse(text)


def test_wrong_files_are_told_and_nothing_is_written(tmp_path: Path) -> None:
    a, broken, out = written(tmp_path / "a.jsonl", 3), tmp_path / "broken.jsonl", tmp_path / "out.jsonl"
    broken.write_text('{"text": "x"}\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="given twice"):
        mix([Part.parse(str(a)), Part.parse(f"{tmp_path}/./a.jsonl=2")], "classify", out, None, 0)
    with pytest.raises(ConfigError, match="part of the mixture"):
        mix([Part.parse(str(a))], "classify", a, None, 0)
    with pytest.raises(DataError, match=r"broken.jsonl' line 1: field `label` is missing"):
        mix([Part.parse(str(a)), Part.parse(str(broken))], "classify", out, None, 0)
    with pytest.raises(DataError, match="No task is called 'sing'"):
        mix([Part.parse(str(a))], "sing", out, None, 0)  # type: ignore[arg-type]
    assert not out.exists()
