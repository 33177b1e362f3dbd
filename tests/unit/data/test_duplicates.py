from hypothesis import given, settings
from hypothesis import strategies as st

from noria.data import NearDuplicates, jaccard, ngrams


def test_planted_duplicates_are_found_and_others_are_not() -> None:
    index = NearDuplicates(0.8)
    index.add("en", "I would like to book a table for two people on Friday evening, please.")
    index.add("zh", "我想预订星期五晚上两个人的桌子，请问还有位子吗？")
    index.add("other", "What time does the swimming pool open on Sundays?")
    english = index.find("I would like to book a table for two people on Friday evening please")
    assert [key for key, _ in english] == ["en"]
    assert [key for key, _ in index.find("我想预订星期五晚上两个人的桌子,请问还有位子吗?")] == ["zh"]
    assert index.find("Can I cancel my booking of the conference room tomorrow?") == []
    assert index.find("星期天游泳池几点开门？") == []


def test_case_width_and_white_space_do_not_count() -> None:
    assert ngrams("Ｈello,  WORLD\n") == ngrams("hello, world")


def test_every_near_pair_of_many_is_found() -> None:
    """Against the exact answer on all pairs: hashing loses none here."""
    sentence = "the guest wants a room with a view of the lake and breakfast for two in the garden"
    texts = [f"{sentence[i % 7 * 5 :]} {i} {i * 37} {sentence[: i % 5 * 4]}" for i in range(60)]
    index = NearDuplicates(0.7)
    for number, text in enumerate(texts):
        index.add(number, text)
    for text in texts:
        exact = {n for n, other in enumerate(texts) if jaccard(ngrams(text), ngrams(other)) >= 0.7}
        assert {key for key, _ in index.find(text)} == exact


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(max_size=40), max_size=8), st.text(max_size=40))
def test_what_is_found_is_as_similar_as_said(texts: list[str], asked: str) -> None:
    index = NearDuplicates(0.5)
    for number, text in enumerate([*texts, asked]):
        index.add(number, text)
    found = dict(index.find(asked))
    assert found[len(texts)] == 1.0, "a text is found itself, the empty one too"
    for key, similarity in found.items():
        text = [*texts, asked][int(str(key))]
        assert similarity == jaccard(ngrams(text), ngrams(asked)) >= 0.5
