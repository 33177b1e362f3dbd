"""Files of each kind become documents; what cannot be read says why."""

from pathlib import Path

import pytest

from noria.data.parse import Document, parse
from noria.errors import DataError, DependencyError


def test_markdown_titles_come_from_front_matter_heading_or_name() -> None:
    assert parse(Path("a.md"), b"---\ntitle: 'The House'\nx: 1\n---\nText").title == "The House"
    assert parse(Path("a.md"), b"# The House #\nText").title == "The House"
    assert parse(Path("check-in_times.txt"), b"Text\r\nmore") == Document("check in times", "Text\nmore")


def test_html_keeps_text_and_structure_and_leaves_code_and_navigation() -> None:
    page = """<html><head><title> The
    House </title><style>p {}</style></head><body><nav>Home</nav><h2>Rooms</h2><p>Two &amp; <b>three</b> beds.</p>
    <ul><li>bath<li>view</ul><table><tr><td>Single</td><td>80</td></tr></table><script>alert(1)</script></body></html>"""
    document = parse(Path("a.html"), page.encode())
    assert document.title == "The House"
    assert document.text.split() == ["##", "Rooms", "Two", "&", "three", "beds.", "-", "bath", "-", "view", "|", "Single", "|", "80"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_chinese_in_the_usual_encodings(encoding: str) -> None:
    assert parse(Path("a.txt"), "早餐七点开始。".encode(encoding)).text == "早餐七点开始。"


@pytest.mark.parametrize(
    "text",
    [
        "早餐七点开始，地点在水车旁边的餐厅。" * 20,
        "Breakfast begins at seven, in the room beside the wheel. " * 20,
        "Breakfast begins at seven, in the café beside the wheel. " * 20,
    ],
)
def test_a_stray_byte_costs_itself_only(text: str) -> None:
    for broken in (text.encode() + b"\xe6", b"a\xff" + text.encode(), text.encode()[:300] + b"\xff" + text.encode()[300:]):
        assert parse(Path("a.txt"), broken).text == broken.decode("utf-8", "replace")
    others = b"The house.\xe5\xae\xe4\xbd\x8f\xe4\xba\x86" + text.encode()  # in GB 18030 other ideographs
    assert parse(Path("a.txt"), others).text == others.decode("utf-8", "replace")
    few = "A few words of Chinese (早餐七点开始) in what is English else. ".encode("gb18030") + b"It begins at seven. " * 2000
    assert parse(Path("a.txt"), few).text == few.decode("gb18030")


def test_an_apostrophe_and_the_letter_behind_it_are_no_ideograph() -> None:
    with pytest.raises(DataError, match="not UTF-8"):
        parse(Path("a.txt"), "The guest’s room isn’t far from the hotel’s garden, and it’s quiet there. ".encode("cp1252") * 100)
    traditional = "這座水車已經轉了八百年，村裡沒有人記得哪一天聽不見它的聲音。"
    assert parse(Path("a.txt"), traditional.encode("gb18030")).text == traditional


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.txt", b"\xff\xfeabc", "begins as UTF-16"),
        ("a.md", b"abc\x00def", "binary file"),
        ("a.txt", "déjà vu über".encode("latin-1"), r"not UTF-8 \(byte 1\)"),
        ("a.md", b" \n", "holds no text"),
        ("a.html", b"<script>x</script>", "holds no text"),
        ("a.exe", b"abc", r"end with '\.exe' are not read; allowed: .*\.md"),
    ],
)
def test_what_cannot_be_read_says_why(name: str, data: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        parse(Path(name), data)


def test_a_missing_extra_says_what_to_install() -> None:
    pytest.importorskip("noria")
    try:
        import markitdown  # noqa: F401
    except ImportError:
        with pytest.raises(DependencyError, match=r"pip install -e '\.\[knowledge\]'"):
            parse(Path("a.pdf"), b"%PDF-1.4")
    else:
        with pytest.raises(DataError, match="markitdown cannot read it"):
            parse(Path("missing.pdf"), b"%PDF-1.4")
