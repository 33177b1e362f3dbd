"""Good Chinese passes the rules, bad Chinese breaks the one that is meant for it."""

import random
from typing import Any, cast

import pytest

pytest.importorskip("datatrove")

from datatrove.data import Document
from datatrove.pipeline.filters import FineWebQualityFilter, GopherQualityFilter
from datatrove.pipeline.filters.base_filter import BaseFilter
from hypothesis import given, settings
from hypothesis import strategies as st

from noria.data import quality
from noria.data.english_words import EnglishWords
from noria.data.grams import character_windows
from noria.data.quality import CharacterRepetition, ChineseQuality, InLanguage, repeated_share, top_share
from noria.testing.documents import chinese, english

GOOD = (
    "水车是一种古老的提水机械，利用水流的力量把低处的水送到高处的田里。\n它由木轮、水斗和支架组成，轮子转动的时候，水斗依次装满，又在顶端倒出。\n"
    "据记载，这种机械在唐代已经相当普遍，后来又传到了其他地方。今天，它更多地作为风景而存在；不过在一些村庄，人们仍然靠它灌溉。"
)
CLASSICAL = (
    "學而時習之，不亦說乎？有朋自遠方來，不亦樂乎？人不知而不慍，不亦君子乎？其為人也孝弟，而好犯上者，鮮矣；不好犯上，而好作亂者，未之有也。"
    "君子務本，本立而道生。孝弟也者，其為仁之本與！巧言令色，鮮矣仁。"
)
POEM = (
    "床前明月光，\n疑是地上霜。\n举头望明月，\n低头思故乡。\n空山不见人，\n但闻人语响。\n返景入深林，\n复照青苔上。\n"
    "红豆生南国，\n春来发几枝？\n愿君多采撷，\n此物最相思。"
)


def document(text: str, language: str = "zh") -> Document:
    return Document(text=text, id="1", metadata={"language": language})


@pytest.mark.parametrize("text", [GOOD, CLASSICAL, POEM, *(chinese(random.Random(seed)) for seed in range(5))])
def test_good_chinese_passes(text: str) -> None:
    assert ChineseQuality().filter(document(text)) is True
    assert CharacterRepetition().filter(document(text)) is True


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("今天天气很好。", "too_short"),
        (GOOD[:60] + " pandas DataFrame read_csv index columns" * 12, "few_ideographs"),
        ("水泵 阀门 管件 法兰 弯头 三通 接头 垫片 螺栓 螺母 和 扳手 的 价格 " * 3, "little_punctuation"),
        ("的、了、是、在、和、有、不、这、也、就、都、而、与、之、其、以、为、于、者！" * 4, "too_much_punctuation"),
        (GOOD.replace("。", "，").replace("；", "，"), "few_sentences"),
        (GOOD + "#标签" * 30, "many_symbols"),
        (
            "红橙黄绿青蓝紫，金银铜铁锡铅铝。东西南北中左右，春夏秋冬晴雨雪。山川河湖海江溪，猫狗牛羊马猪鸡。梅兰竹菊松柏柳，刀枪剑戟斧钺叉。",
            "no_function_characters",
        ),
        (GOOD + "f() { if (x) { while (y) { z(); } } }", "curly_brackets"),
        (GOOD + "Lorem ipsum dolor sit amet", "lorem_ipsum"),
        ("\n".join(f"- {part}。" for part in GOOD.replace("\n", "").replace("。", "，").split("，") if part), "bullets"),
        ("\n".join(f"{line}…" for line in GOOD.split("\n")) + "\n他走了。她来了。天黑了。", "ellipses"),
        ("\n".join(["首页", "新闻", "关于我们", "联系方式", "产品中心", "技术支持"] * 2) + "\n" + GOOD, "short_lines"),
        ("这是一个很长的标题而且没有标点\n" * 10 + "这里有三句。也就是这样。都在其中。而最后一行也不结束", "open_lines"),
    ],
)
def test_bad_chinese_breaks_its_rule(text: str, fault: str) -> None:
    assert ChineseQuality().filter(document(text)) == (False, fault)


def test_notices_are_taken_out_of_a_document_that_stays() -> None:
    found = document(GOOD + "\n本站使用 Cookie 改善体验。\n版权所有，翻印必究。")
    assert ChineseQuality().filter(found) is True
    assert found.text == GOOD


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("同一句话反复出现。\n" * 10, "equal_lines"),
        (GOOD + "\n" + GOOD.split("\n")[0] * 1 + "\n" + GOOD.split("\n")[0] + "\n甲。\n乙。\n丙。\n丁。\n戊。", "characters_in_equal_lines"),
        ("买买买买买买买买买买" * 10, "one_run_of_4"),
        ("".join(f"我们的水车由木轮和支架组成，编号{n}。" for n in range(12)), "one_run_of_4"),
        (GOOD.replace("\n", "") * 2 + CLASSICAL, "repeated_runs_of_10"),
    ],
)
def test_repetition_is_found_by_characters(text: str, fault: str) -> None:
    assert CharacterRepetition().filter(document(text)) == (False, fault)


def test_shares_of_repeated_text() -> None:
    assert top_share(character_windows("abcdabcdxy", 4), 4, 10) == 0.8
    assert top_share(character_windows("abcdefgh", 4), 4, 8) == 0.0
    assert repeated_share(character_windows("abcdexxabcde", 5), 5, 12) == pytest.approx(5 / 12)
    assert repeated_share(character_windows("abc", 5), 5, 3) == 0.0


def test_rules_hold_for_their_languages_alone() -> None:
    only_zh = InLanguage(ChineseQuality(), ("zh",))
    assert only_zh.filter(document("too short for Chinese", "en")) is True
    assert only_zh.filter(document("太短了。")) == (False, "too_short")
    all_but_english = InLanguage(CharacterRepetition(), ("en",), others=True)
    assert all_but_english.filter(document("line\n" * 9, "en")) is True
    assert all_but_english.filter(document("line\n" * 9, "fr")) == (False, "equal_lines")


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("\n。#水a ")), max_size=80))
def test_no_text_breaks_a_rule(text: str) -> None:
    for rule in (ChineseQuality(min_ideographs=0, min_sentences=0), CharacterRepetition()):
        verdict = rule.filter(document(text))
        assert verdict is True or (isinstance(verdict, tuple) and verdict[0] is False and verdict[1].isidentifier())


def test_a_text_that_a_rule_cannot_read_is_dropped_with_the_error() -> None:
    class Broken(CharacterRepetition):
        def filter(self, doc: Document) -> bool:
            return len(doc.text) / 0 > 1

    found = document("any")
    assert InLanguage(Broken(), ("zh",)).filter(found) == (False, "rule_failed")
    assert found.metadata["detail"] == "ZeroDivisionError: division by zero"


def test_english_rules_pass_good_english_and_would_reject_good_chinese() -> None:
    gopher = InLanguage(GopherQualityFilter(language=cast(Any, EnglishWords())), ("en",))
    good = [document(english(random.Random(seed)), "en") for seed in range(3)]
    assert list(gopher.run(iter(good))) == good
    assert gopher.filter(document(GOOD, "en")) is not True


def test_prose_with_numbers_and_commas_has_letters_enough() -> None:
    """datatrove's own tokenizer counts commas and full stops as words without a letter."""
    text = english(random.Random(1)) + " Of 1,204 visitors, 96 came in 1951 (8 %), 210 in 1952 (17 %), 415 in 1953, and the rest, 483, in 1954."
    assert GopherQualityFilter(language=cast(Any, EnglishWords())).filter(document(text, "en")) is True


def test_words_and_sentences() -> None:
    words = EnglishWords()
    assert words.word_tokenize("Don't ask: the state-of-the-art U.S. mill costs $3.50!") == [
        "Don't", "ask", "the", "state-of-the-art", "U.S", "mill", "costs", "3.50",
    ]  # fmt: skip
    assert words.sent_tokenize('He said: "Stop!" Nobody did... Why? Version 3.5 is out.') == [
        'He said: "Stop!"', "Nobody did...", "Why?", "Version 3.5 is out.",
    ]  # fmt: skip


@given(text=st.text(alphabet="ab \n", max_size=400), size=st.integers(5, 60))
def test_pieces_are_the_whole_text(text: str, size: int) -> None:
    found = quality.pieces(text, size)
    assert "".join(found) == text
    assert all(len(part) <= 2 * size for part in found)


def test_pieces_end_with_a_line_or_else_with_a_word() -> None:
    assert quality.pieces("one two.\n\nthen six", 12) == ["one two.\n", "\nthen six"]
    assert quality.pieces("one two three four", 12) == ["one two ", "three four"]
    assert quality.pieces("水車水車水車", 4) == ["水車水", "車水車"]


@pytest.mark.parametrize("between", [" ", "\n", "\n\n", " \n\n\n "])
def test_what_stands_between_two_pieces_stays(between: str) -> None:
    class Stripping(BaseFilter):
        name = "strips"

        def filter(self, doc: Document) -> bool:
            doc.text = doc.text.strip()
            return True

    text = between.join(["on the evening of that day."] * 6000)
    book = Document(text=text, id="book", metadata={"language": "en"})
    assert InLanguage(Stripping(), ("en",)).filter(book) is True
    assert book.text == text


def test_a_piece_that_a_rule_cannot_read_leaves_no_note_on_a_text_that_stays() -> None:
    class Breaking(BaseFilter):
        name = "breaks"

        def filter(self, doc: Document) -> bool:
            return 1 / doc.text.count("a") > 0

    half = "a " * 60_000
    kept = Document(text=half * 2 + "b " * 60_000, id="kept", metadata={"language": "en"})
    assert InLanguage(Breaking(), ("en",)).filter(kept) is True
    assert kept.metadata == {"language": "en"}
    dropped = Document(text="b " * 60_000, id="dropped", metadata={"language": "en"})
    assert InLanguage(Breaking(), ("en",)).filter(dropped) == (False, "rule_failed")
    assert dropped.metadata["detail"] == "ZeroDivisionError: division by zero"


def test_a_book_whose_lines_come_again_later_is_judged_in_pieces() -> None:
    """Every line stands there five times, but never twice within fifty thousand characters, as the short lines of dialogues do."""
    lines = [f"Then the {n}th guest of the house asked for the key of room {n + 1} again, and went." for n in range(900)]
    book = Document(text="\n".join(lines * 5), id="book", metadata={"language": "en"})
    rule = FineWebQualityFilter(language=cast(Any, EnglishWords()))
    assert rule.filter(book) == (False, "char_dup_ratio")
    text = book.text
    assert InLanguage(rule, ("en",)).filter(book) is True
    assert book.text == text


def test_a_long_text_of_which_most_is_bad_is_dropped_with_its_fault() -> None:
    lines = [f"Then the {n}th guest of the house asked for the key of room {n + 1} again, and went." for n in range(900)]
    bad = Document(text="\n".join([*lines, *["The same line over and over again stands here."] * 4000]), id="bad", metadata={"language": "en"})
    assert InLanguage(FineWebQualityFilter(language=cast(Any, EnglishWords())), ("en",)).filter(bad) == (False, "char_dup_ratio")
