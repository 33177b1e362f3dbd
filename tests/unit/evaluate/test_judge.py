"""A model as judge: a preference counts when both orders share it; people's sheets are blind, and read back without a key."""

import csv
import json
from pathlib import Path
from typing import Any, cast

import pytest
from sklearn.metrics import cohen_kappa_score

from noria.errors import ConfigError, DataError
from noria.evaluate.judge import Judged, Pair, Side, agreement, consistency, judged, majority, verdict
from noria.evaluate.sheets import read_sheet, write_sheet
from noria.schema import GenerationRequest
from noria.testing import ScriptedGenerator

PAIRS = [Pair(id=f"p{n}", group=f"g{n}", request=f"Say {n}.", model=f"good {n}", against=f"bad {n}") for n in range(40)]


def says(better: str) -> str:
    return json.dumps({"reason": "It decides.", "better": better})


def test_a_preference_for_a_place_is_a_tie() -> None:
    judge = ScriptedGenerator(lambda _: says("A"))
    one = judged(judge, PAIRS[0])
    assert (one.orders, one.better) == (("model", "against"), "tie")
    assert consistency([one]) == 0


def test_a_preference_for_an_answer_counts_and_both_orders_are_asked() -> None:
    def script(request: GenerationRequest) -> str:
        text = request.messages[-1].content
        return says("A" if text.index("good") < text.index("bad") else "B")

    judge = ScriptedGenerator(script)
    one = judged(judge, PAIRS[3])
    assert (one.orders, one.better) == (("model", "model"), "model")
    first, second = (request.messages[-1].content for request in judge.requests)
    assert first == "[Request]\nSay 3.\n\n[Answer A]\ngood 3\n\n[Answer B]\nbad 3"
    assert second == "[Request]\nSay 3.\n\n[Answer A]\nbad 3\n\n[Answer B]\ngood 3"


def test_a_chinese_request_is_judged_in_chinese() -> None:
    judge = ScriptedGenerator([says("tie"), says("tie")])
    assert judged(judge, Pair(id="a", group="a", request="早餐几点开始？", model="七点。", against="八点。")).better == "tie"
    asked = judge.requests[0]
    assert asked.messages[-1].content.startswith("[请求]\n早餐几点开始？\n\n[回答 A]")
    most = cast(Any, asked.response_schema)["properties"]["reason"]["maxLength"]
    assert asked.max_tokens >= 1.9 * most + 20, "a character takes two tokens, and the verdict stands behind the reason"


def test_what_has_no_end_is_a_tie_and_counted_as_unread() -> None:
    one = judged(ScriptedGenerator(['{"reason": "and so on', says("A")]), PAIRS[0])
    assert (one.orders, one.better) == ((None, "against"), "tie")


def test_equal_answers_are_not_asked_about() -> None:
    one = judged(ScriptedGenerator(), PAIRS[0].model_copy(update={"against": PAIRS[0].model}))
    assert (one.better, one.asked) == ("tie", False)
    assert consistency([one, Judged(id="b", orders=("model", "against"))]) == 0


def test_wins_and_losses_are_tested_in_pairs() -> None:
    sides: list[Side] = ["model"] * 12 + ["against"] * 2 + ["tie"] * 26
    told = verdict(PAIRS, {pair.id: side for pair, side in zip(PAIRS, sides, strict=True)})
    assert (told["n"], told["wins"], told["losses"], told["ties"]) == (40, 12, 2, 26)
    assert told["effect"] == pytest.approx(0.25)
    assert told["test"] == "exact McNemar, two-sided"
    assert told["p"] == pytest.approx(2 * sum(w for w in (1, 14, 91)) / 2**14)


def test_agreement_is_scikit_learns_kappa() -> None:
    one: dict[str, Side] = {"a": "model", "b": "against", "c": "tie", "d": "model"}
    other: dict[str, Side] = {"b": "against", "c": "model", "d": "model", "e": "tie"}
    told = agreement(one, other)
    assert told == {
        "n": 3,
        "same": pytest.approx(2 / 3),
        "kappa": pytest.approx(cohen_kappa_score(["against", "tie", "model"], ["against", "model", "model"])),
    }
    assert agreement(one, one)["kappa"] == 1.0
    assert agreement({"a": "model"}, {"b": "model"})["n"] == 0


def test_most_people_decide() -> None:
    sheets: list[dict[str, Side]] = [{"a": "model", "b": "model"}, {"a": "model", "b": "against"}, {"a": "against"}]
    assert majority(sheets) == {"a": "model", "b": "tie"}


def fill(path: Path, prefer: str) -> None:
    """What a person does who prefers an answer that begins with a word; every fifth row is left out."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        row["better"] = "" if number % 5 == 4 else "First" if row["first"].lstrip("'").startswith(prefer) else "second "
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def test_sheets_are_blind_and_read_back_without_a_key(tmp_path: Path) -> None:
    write_sheet(PAIRS, tmp_path / "sheet.csv")
    text = (tmp_path / "sheet.csv").read_text(encoding="utf-8")
    assert text.startswith("\ufeffid,request,first,second,better,comment")
    assert "model" not in text
    with (tmp_path / "sheet.csv").open(encoding="utf-8-sig", newline="") as file:
        firsts = [row["first"].split()[0] for row in csv.DictReader(file)]
    assert 8 < firsts.count("good") < 32, "either stands first about as often"
    fill(tmp_path / "sheet.csv", "good")
    found = read_sheet(tmp_path / "sheet.csv", PAIRS)
    assert len(found) == 32
    assert set(found.values()) == {"model"}
    with pytest.raises(ConfigError, match="may hold what people wrote"):
        write_sheet(PAIRS, tmp_path / "sheet.csv")
    with pytest.raises(DataError, match="there is no pair"):
        read_sheet(tmp_path / "sheet.csv", [pair.model_copy(update={"against": "others"}) for pair in PAIRS])


@pytest.mark.parametrize("encoding", ["gbk", "utf-8"])
def test_a_sheet_that_excel_saved_in_its_own_letters_is_read(tmp_path: Path, encoding: str) -> None:
    pairs = [Pair(id=str(n), group=str(n), request=f"几点“开始”，第{n}个？", model="good 七点。", against="八点\n半。") for n in range(9)]
    write_sheet(pairs, tmp_path / "sheet.csv")
    fill(tmp_path / "sheet.csv", "good")
    text = (tmp_path / "sheet.csv").read_text(encoding="utf-8-sig")
    (tmp_path / "sheet.csv").write_bytes(text.encode(encoding))
    assert set(read_sheet(tmp_path / "sheet.csv", pairs).values()) == {"model"}
    (tmp_path / "sheet.csv").write_bytes(text.encode("utf-16"))
    with pytest.raises(DataError, match="saved as UTF-16. Save the sheet as CSV"):
        read_sheet(tmp_path / "sheet.csv", pairs)


@pytest.mark.parametrize("hostile", ['=HYPERLINK("http://x")', "+1", "-1", "@cmd", 'a,"b"\nc', "\ttab"])
def test_answers_are_no_formulas_and_survive_the_sheet(tmp_path: Path, hostile: str) -> None:
    pairs = [Pair(id="1:1", group="g", request=hostile, model=hostile, against="x")]
    write_sheet(pairs, tmp_path / "sheet.csv")
    with (tmp_path / "sheet.csv").open(encoding="utf-8-sig", newline="") as file:
        [row] = csv.DictReader(file)
    assert not any(row[name].startswith(("=", "+", "-", "@", "\t")) for name in ("id", "request", "first", "second"))
    assert hostile in (row["first"].removeprefix("'"), row["second"].removeprefix("'"))
    fill(tmp_path / "sheet.csv", "x")
    assert read_sheet(tmp_path / "sheet.csv", pairs) == {"1:1": "against"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("id,better\n{id},best\n", "line 2: `better` is 'best'; allowed: first, second, tie"),
        ("id,better\nother,first\n", "line 2: there is no pair 'other'"),
        ("id;better\n{id};first\n", "has no column `id`"),
        ("id,better\n{id},\n", "has no verdicts"),
        ("", "has no column `id`"),
    ],
)
def test_a_wrong_sheet_gets_one_sentence(tmp_path: Path, text: str, told: str) -> None:
    write_sheet(PAIRS[:1], tmp_path / "made.csv")
    made = (tmp_path / "made.csv").read_text(encoding="utf-8-sig").splitlines()[1].split(",")[0]
    (tmp_path / "sheet.csv").write_text(text.replace("{id}", made), encoding="utf-8")
    with pytest.raises(DataError, match=told):
        read_sheet(tmp_path / "sheet.csv", PAIRS)


def test_the_judges_word_survives_its_file() -> None:
    one = Judged(id="a", orders=("model", None))
    assert Judged.model_validate_json(one.model_dump_json()) == one
