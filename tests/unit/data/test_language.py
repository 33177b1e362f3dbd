"""The language of a text, told without a network."""

import random

import pytest

pytest.importorskip("py3langid")

from noria.data.language import identify
from noria.testing.documents import MAKERS


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The wheel is turned by the stream that it lifts, and so it goes on day and night.", "en"),
        ("A notice.\n\nTHE WHEEL IS TURNED BY THE STREAM THAT IT LIFTS, AND SO IT GOES ON DAY AND NIGHT.", "en"),
        ("Das Rad wird von dem Bach gedreht, den es hebt, und so geht es Tag und Nacht weiter.", "de"),
        ("La roue est tournée par le courant qu'elle élève, et ainsi de suite jour et nuit.", "fr"),
        ("水车由它所提起的溪流推动，日夜不停。", "zh"),
        ("水車由它所提起的溪流推動，日夜不停。", "zh"),
        ("使用 Python 的 pandas 库读取 CSV 文件，然后调用 DataFrame 的方法。", "zh"),
        ("水車は流れに押されて回り、昼も夜も止まらない。", "ja"),
        ("물레방아는 흐르는 물에 밀려 밤낮으로 돌아간다.", "ko"),
        ("12345 !!! ---", "und"),
        ("", "und"),
    ],
)
def test_languages(text: str, language: str) -> None:
    assert identify(text)[0] == language


@pytest.mark.parametrize("language", ["en", "zh"])
def test_documents_are_known_for_sure(language: str) -> None:
    found = [identify(MAKERS[language](random.Random(seed))) for seed in range(20)]
    assert {code for code, _ in found} == {language}
    assert min(confidence for _, confidence in found) > 0.9
