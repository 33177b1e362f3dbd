"""Words of English and Chinese, for the index and the query alike."""

from noria.knowledge.words import query_words, words


def test_words_and_bigrams_of_a_mixed_text() -> None:
    assert words("The WiFi密码 isn't 早餐 7:30!") == ["the", "wifi", "密码", "isnt", "早餐", "7", "30"]
    assert words("早餐时间") == ["早餐", "餐时", "时间"]
    assert words("ＷｉＦｉ　房") == ["wifi", "房"]


def test_stop_words_leave_a_query_unless_there_is_nothing_else() -> None:
    assert query_words("What is the time of breakfast?") == ["time", "breakfast"]
    assert query_words("早餐是什么时候？") == ["早餐", "餐是", "么时", "时候"]
    assert query_words("to be or not to be") == ["to", "be", "or", "not"]


def test_hostile_texts_hold_no_syntax() -> None:
    assert query_words('"; DROP TABLE x; -- NEAR(a b) * col:^') == ["drop", "table", "x", "near", "b", "col"]
    assert query_words("🙂 \x00 \ud800") == []
