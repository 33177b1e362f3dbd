"""Every kind of file becomes documents; of a broken one, what can be read, and the reason for the rest."""

import gzip
import io
import json
import random
import time
import tracemalloc
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noria.data import Document, open_corpus, split_of
from noria.data.documents import Unread
from noria.data.parse import MAX_FILE_BYTES
from noria.data.parser import Parser
from noria.data.readers import MAX_ROW_BYTES, READERS, TextLimits, Track, open_stream, read_documents
from noria.data.web_archive import MAX_HEADER_BYTES
from noria.data.wiki import MAX_PAGE_BYTES
from noria.errors import DataError, DependencyError
from noria.testing import corpus_files as files
from noria.testing.corpus_files import CHINESE, ENGLISH


def needs(*libraries: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(any(find_spec(name) is None for name in libraries), reason=f"needs {', '.join(libraries)}")


Read = Callable[[Path], tuple[list[Document], list[Unread]]]


@pytest.fixture(scope="module")
def read() -> Iterator[Read]:
    """What is read of a file, and what is not; one parser serves all tests, for its process takes a second to start."""
    with Parser() as parser:

        def of(path: Path) -> tuple[list[Document], list[Unread]]:
            items = list(read_documents(path, parser, Track()))
            return [i for i in items if isinstance(i, Document)], [i for i in items if isinstance(i, Unread)]

        yield of


@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2", ".xz", pytest.param(".zst", marks=needs("zstandard"))])
def test_texts_and_rows_in_every_compression(read: Read, tmp_path: Path, suffix: str) -> None:
    text, rows = tmp_path / f"a.txt{suffix}", tmp_path / f"b.jsonl{suffix}"
    text.write_bytes(files.compressed(f"{ENGLISH}\r\n{CHINESE}".encode(), suffix))
    row = {"text": CHINESE, "id": 3, "source": "a book", "url": "https://a.example", "license": "CC0"}
    rows.write_bytes(files.compressed((json.dumps(row) + "\n\n" + json.dumps({"text": ENGLISH})).encode(), suffix))
    assert read(text) == ([Document(text=f"{ENGLISH}\n{CHINESE}", id=str(text), source=str(text))], [])
    assert read(rows)[0] == [
        Document(text=CHINESE, id="3", source=str(rows), origin="a book", url="https://a.example", license="CC0"),
        Document(text=ENGLISH, id=f"{rows}:3", source=str(rows)),
    ]


def test_a_bad_row_is_set_aside_and_the_others_are_read(read: Read, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "one"}\n{"text": \n{"text": 3}\n["text"]\n{"text": " "}\n\xff\xfe\n{"text": "two"}\n')
    documents, unread = read(path)
    assert [d.text for d in documents] == ["one", "two"]
    assert [u.place for u in unread] == ["line 2", "line 3", "line 4", "line 5", "line 6"]
    assert unread[1].reason == "`text` is 3; each row needs a text."


def test_half_a_character_in_a_row_is_replaced(read: Read, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "half \\ud83d"}\n{"text": "whole \\ud83d\\ude00"}\n', encoding="utf-8")
    assert [d.text for d in read(path)[0]] == ["half \ufffd", "whole \U0001f600"]
    half = {name: f"{name} \ud83d" for name in ("text", "id", "source", "url", "license", "language")}
    path.write_text(json.dumps(half) + "\n" + json.dumps({**half, "text": 3}), encoding="utf-8")
    documents, unread = read(path)
    whole = {name: f"{name} \ufffd" for name in half}
    assert documents == [Document(**{**whole, "source": str(path)}, origin=whole["source"])]
    assert "source \ufffd" in unread[0].text


def test_of_a_row_that_is_too_long_the_beginning_is_set_aside(read: Read, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"text": "' + b"x" * (MAX_ROW_BYTES + 100) + b'"}\n{"text": "two"}\n', 1))
    documents, unread = read(path)
    assert [(d.text, d.id) for d in documents] == [("two", f"{path}:2")]
    assert [(u.place, u.reason, len(u.text)) for u in unread] == [("line 1", f"It is longer than {MAX_ROW_BYTES:,} bytes.", 10_000)]


class Counted(io.BytesIO):
    """A stream that knows how much was read of it, and the most at once."""

    most = whole = 0

    def read(self, size: int | None = -1, /) -> bytes:
        return self._counted(super().read(size))

    def readline(self, size: int | None = -1, /) -> bytes:
        return self._counted(super().readline(size))

    def __next__(self) -> bytes:
        return self._counted(super().__next__())

    def _counted(self, data: bytes) -> bytes:
        self.most = max(self.most, len(data))
        self.whole += len(data)
        return data


@needs("pyarrow")
def test_a_large_row_group_is_not_read_at_once(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    texts = [random.Random(n).randbytes(10_000).hex() for n in range(300)]
    pq.write_table(pa.table({"text": texts}), path, write_batch_size=10, use_dictionary=False)
    stream = Counted(path.read_bytes())
    with Parser() as parser:
        rows = READERS[".parquet"](path, stream, parser)
        assert next(rows).text == texts[0]
        assert stream.most <= 1 << 20
        assert stream.whole < 0.6 * path.stat().st_size
        assert len(list(rows)) == 299


@needs("pyarrow")
def test_parquet(read: Read, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    files.parquet(path, {"text": [ENGLISH, None, CHINESE], "url": ["u", "v", None], "more": ["", "", ""]})
    documents, unread = read(path)
    assert [(d.text, d.url) for d in documents] == [(ENGLISH, "u"), (CHINESE, None)]
    assert [u.place for u in unread] == ["row 2"]
    files.parquet(path, {"content": [ENGLISH]})
    assert read(path)[1][0].reason == "It has no column `text`; its columns are: content."


@needs("trafilatura")
def test_of_a_web_page_the_main_text(read: Read, tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_text(files.PAGE, encoding="utf-8")
    documents, _ = read(path)
    assert ENGLISH in documents[0].text
    assert "Shop" not in documents[0].text
    assert "Imprint" not in documents[0].text
    path.write_text("<html><body><script>x</script></body></html>", encoding="utf-8")
    assert "No main text" in read(path)[1][0].reason


@needs("markitdown")
@pytest.mark.parametrize(("name", "data"), [("a.pdf", files.pdf(ENGLISH)), ("a.docx", files.docx(ENGLISH)), ("b.docx.gz", files.docx(CHINESE))])
def test_office_and_pdf(read: Read, tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(files.compressed(data, ".gz" if name.endswith("gz") else ""))
    documents, unread = read(path)
    assert not unread
    assert documents[0].text.strip() in (ENGLISH, CHINESE)


@needs("mwparserfromhell")
@pytest.mark.parametrize("suffix", ["", ".bz2"])
def test_wiki_dump(read: Read, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"dump.xml{suffix}"
    path.write_bytes(files.compressed(files.WIKI.encode(), suffix))
    documents, unread = read(path)
    assert not unread
    assert [d.url for d in documents] == ["https://wheels.example/wiki/Water_wheel", "https://wheels.example/wiki/%E6%B0%B4%E8%BD%A6"]
    assert [d.id for d in documents] == [f"{path}:7", f"{path}:10"]
    assert [line for line in documents[0].text.split("\n") if line] == ["Water wheel", "Water wheels are machines.", "History", ENGLISH]
    assert documents[1].text == f"水车\n\n{CHINESE}"


@needs("mwparserfromhell")
def test_xml_that_is_no_dump_and_a_dump_cut_short(read: Read, tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text("<rss><item/></rss>", encoding="utf-8")
    assert read(path)[1][0].reason == "It is no MediaWiki dump: its XML begins with <rss>."
    path.write_text(files.WIKI[: files.WIKI.index("<title>水车")], encoding="utf-8")
    documents, unread = read(path)
    assert [d.id for d in documents] == [f"{path}:7"]
    assert "ParseError" in unread[0].reason


@needs("mwparserfromhell")
def test_a_dump_of_anything_takes_no_more_memory_the_longer_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    logged = f"<logitem><id>1</id><comment>{'x' * 50_000}</comment></logitem>\n"
    start, end = files.WIKI.index("<page>"), files.WIKI.index("</mediawiki>")
    path.write_text(files.WIKI[:start] + logged * 400 + files.WIKI[start:end] + logged * 400 + "</mediawiki>", encoding="utf-8")
    tracemalloc.start()
    with Parser() as parser:
        assert len(list(read_documents(path, parser, Track()))) == 2
    assert tracemalloc.get_traced_memory()[1] < 5_000_000 < path.stat().st_size
    tracemalloc.stop()


@needs("mwparserfromhell")
def test_a_page_without_an_end_is_not_read_into_memory(read: Read, tmp_path: Path) -> None:
    path = tmp_path / "a.xml.gz"
    before = files.WIKI[: files.WIKI.index("</mediawiki>")]
    path.write_bytes(files.compressed(f"{before}<page><title>Long</title><revision><text>{'x' * (MAX_PAGE_BYTES + 100_000)}".encode(), ".gz"))
    documents, unread = read(path)
    assert len(documents) == 2
    assert unread[0].reason == f"A page of it is longer than {MAX_PAGE_BYTES:,} bytes."


def test_mail(read: Read, tmp_path: Path) -> None:
    path = tmp_path / "a.mbox"
    path.write_text(files.MAILBOX, encoding="utf-8")
    documents, unread = read(path)
    assert [(d.id, d.text) for d in documents] == [
        ("1@example.org", f"The wheel\n\n{ENGLISH}\nFrom the beginning."),
        ("2@example.org", f"水车\n\n{CHINESE}"),
    ]
    assert [u.reason for u in unread] == ["The message holds no text of its own."]
    single = tmp_path / "a.eml"
    single.write_text(files.MAILBOX.split("\n", 1)[1].split("\nFrom bob")[0], encoding="utf-8")
    assert read(single)[0][0].text.startswith(f"The wheel\n\n{ENGLISH}")
    path.write_text("no mailbox", encoding="utf-8")
    assert "It is no mbox file" in read(path)[1][0].reason


def reply(folder: Path, body: str, kind: str = "plain") -> Path:
    path = folder / "reply.eml"
    path.write_text(f"Subject: Re: it\nMessage-ID: <1@a.example>\nContent-Type: text/{kind}; charset=utf-8\n\n{body}", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("body", "own"),
    [
        ("On Mon, 5 Jan 2026 at 10:00, Bob <b@a.example> wrote:\n> When?\n\nAt noon.\n", "At noon."),
        ("On Mon, Jan 5, 2026 at 10:00 AM Robert Miller the Elder\n<b@a.example> wrote:\n> When?\n\nAt noon.\n", "At noon."),
        ("On Sunday, Bob wrote:\n> When?\nAt noon.\n> Where?\nAt the mill.\n", "At noon.\nAt the mill."),
        ("在 2026年1月5日 10:00，小明 <m@a.example> 写道：\n> 何时？\n\n中午。", "中午。"),
        ("小明 <m@a.example> 写道:\n> 何时？\n中午。", "中午。"),
        ("他不同意。\n正如鲁迅在书中写道：\n其实地上本没有路。", "他不同意。\n正如鲁迅在书中写道：\n其实地上本没有路。"),
        ("On the nature of things he also wrote:\nNothing.", "On the nature of things he also wrote:\nNothing."),
        ("At noon.\n-----Original Message-----\nWhen?", "At noon."),
        ("中午。\n---------- 原始邮件 ----------\n何时？", "中午。"),
        ("At noon.\n-- \nAda", "At noon."),
    ],
)
def test_what_is_written_around_a_quotation_is_kept(read: Read, tmp_path: Path, body: str, own: str) -> None:
    documents, unread = read(reply(tmp_path, body))
    assert not unread
    assert documents[0].text == f"Re: it\n\n{own}"


def test_a_line_of_blanks_takes_no_time(read: Read, tmp_path: Path) -> None:
    path = reply(tmp_path, f"{' ' * 1_000_000}\nAt noon.")
    began = time.process_time()
    assert read(path)[0][0].text == "Re: it\n\nAt noon."
    assert time.process_time() - began < 2


def test_quotations_of_a_page_in_a_message(read: Read, tmp_path: Path) -> None:
    page = f"<p>{ENGLISH}</p><blockquote>When?<blockquote>So?</blockquote>And?</blockquote><p>{CHINESE}</p><BLOCKQUOTE class=cite>never closed"
    assert read(reply(tmp_path, page, "html"))[0][0].text == f"Re: it\n\n{ENGLISH}\n\n{CHINESE}"


def test_a_message_that_is_nested_too_deeply_costs_itself_only(read: Read, tmp_path: Path) -> None:
    parts = "".join(f'Content-Type: multipart/mixed; boundary="{n}"\n\n--{n}\n' for n in range(2000))
    path = tmp_path / "a.mbox"
    path.write_text(f"From eve@a.example Mon\n{parts}\n\n{files.MAILBOX}", encoding="utf-8")
    documents, unread = read(path)
    assert [d.id for d in documents] == ["1@example.org", "2@example.org"]
    assert unread[0].reason == "It is nested too deeply."


def test_a_mailbox_of_one_line_is_not_read_at_once(tmp_path: Path) -> None:
    path, piece = tmp_path / "a.mbox", 1 << 20
    long = f"Subject: long\n\n{'x' * (piece - 1)} \nFrom here on\n\n{' ' * piece}From eve@a.example {'y' * piece}\n\n"
    stream = Counted(f"From ada@a.example Mon\n{long}{files.MAILBOX}".encode())
    with Parser() as parser:
        items = list(READERS[".mbox"](path, stream, parser))
    assert stream.most <= piece
    assert [item.id for item in items if isinstance(item, Document)] == [f"{path}:1", "1@example.org", "2@example.org"]
    assert items[0].text == long.removeprefix("Subject: ").strip()


@needs("trafilatura")
@pytest.mark.parametrize(
    ("head", "encoding", "text"),
    [
        ("<meta charset=big5>", "big5", "這座水車已經轉了八百年，村裡沒有人記得哪一天聽不見它的聲音。" * 4),
        ('<meta http-equiv="Content-Type" content="text/html; charset=gb2312">', "gb18030", f"{CHINESE}é" * 12),
        (
            '<meta charset="windows-1252">',
            "cp1252",
            "Le café de la vallée est fermé depuis l’été dernier, et personne ne sait où sont les clés. " * 3,
        ),
        ("<meta charset=iso-8859-1>", "cp1252", "Le café de la vallée est fermé depuis l’été dernier, et personne ne sait où sont les clés. " * 3),
        ("<meta charset=big5>", "utf-8", CHINESE * 12),  # as it is, not as it says
        ("<meta charset=utf-8>", "gb18030", CHINESE * 12),
    ],
)
def test_a_web_page_is_read_in_the_encoding_that_it_declares(read: Read, tmp_path: Path, head: str, encoding: str, text: str) -> None:
    path = tmp_path / "a.html"
    path.write_bytes(f"<html><head>{head}<title>x</title></head><body><article><p>{text}</p></article></body></html>".encode(encoding))
    documents, unread = read(path)
    assert not unread
    assert documents[0].text.strip() == text.strip()


@needs("warcio", "trafilatura")
@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz"])
def test_web_archive(read: Read, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    files.warc(
        path,
        {"https://wheels.example/1": files.PAGE, "https://wheels.example/2": "<html><body><script>x</script></body></html>"},
        name.endswith("gz"),
    )
    documents, unread = read(path)
    assert [(d.url, d.id) for d in documents] == [("https://wheels.example/1", "urn:0")]
    assert ENGLISH in documents[0].text
    assert [(u.place, u.text) for u in unread] == [("record 2", "https://wheels.example/2")]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    documents, unread = read(path)
    assert len(unread) <= 1


@needs("warcio", "trafilatura")
@pytest.mark.parametrize("header", ["WARC-Target-URI: " + "x" * MAX_HEADER_BYTES, "a: b\r\n" * (MAX_HEADER_BYTES // 6 + 1)], ids=["long", "many"])
def test_headers_without_an_end_are_not_read_into_memory(read: Read, tmp_path: Path, header: str) -> None:
    path = tmp_path / "a.warc.gz"
    files.warc(path, {"https://wheels.example/1": files.PAGE}, True)
    path.write_bytes(path.read_bytes() + gzip.compress(f"WARC/1.1\r\nWARC-Type: response\r\n{header}\r\n\r\n".encode(), 1))
    documents, unread = read(path)
    assert len(documents) == 1
    assert [u.reason for u in unread] == [f"The headers of a record of it are longer than {MAX_HEADER_BYTES:,} bytes."]


@needs("warcio", "trafilatura")
def test_a_page_that_is_too_long_costs_itself_only(read: Read, tmp_path: Path) -> None:
    path = tmp_path / "a.warc"
    files.warc(path, {"https://wheels.example/1": "x" * MAX_FILE_BYTES, "https://wheels.example/2": files.PAGE}, False)
    tracemalloc.start()
    documents, unread = read(path)
    assert tracemalloc.get_traced_memory()[1] < MAX_FILE_BYTES / 4
    tracemalloc.stop()
    assert [d.url for d in documents] == ["https://wheels.example/2"]
    assert [(u.place, u.text) for u in unread] == [("record 1", "https://wheels.example/1")]


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.txt.gz", b"no gzip", "Not a gzipped file"),
        ("b.jsonl.gz", files.compressed(b'{"text": "' + b"x" * 9000, ".gz")[:40], "ended before"),
        ("c.jsonl.xz", b"no xz", "LZMAError"),
        ("d.txt", b"\x00\x01", "binary file"),
        ("e.txt", b"", "no text"),
        pytest.param("f.parquet", b"PAR1 no parquet", "Arrow", marks=needs("pyarrow")),
        pytest.param("g.pdf", b"no pdf", "markitdown cannot read it", marks=needs("markitdown")),
        pytest.param("h.docx", b"PK no zip", "markitdown cannot read it", marks=needs("markitdown")),
        pytest.param("i.xml", b"no xml", "ParseError", marks=needs("mwparserfromhell")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_broken_file_says_why(read: Read, tmp_path: Path, name: str, data: bytes, reason: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    documents, unread = read(path)
    assert documents == []
    assert reason in unread[0].reason


def test_a_long_text_is_cut_at_blank_lines_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    whole = "\n\n".join(f"Paragraph {n}.\n{ENGLISH} {CHINESE}" for n in range(200))
    path.write_text(whole, encoding="utf-8")
    with Parser() as parser:
        pieces = list(read_documents(path, parser, Track(), TextLimits(max_whole_bytes=1000, piece_characters=500)))
    assert len(pieces) > 10
    assert "".join(piece.text for piece in pieces) == whole
    assert all(piece.text.startswith("Paragraph") for piece in pieces)
    assert pieces[1].id == f"{path}#2"


@pytest.mark.parametrize(("encoding", "text"), [("utf-16", "水\U0001f600车"), ("utf-8", "水\U0001f600车"), ("gb18030", "水车")])
def test_a_long_text_in_one_line_and_any_encoding(tmp_path: Path, encoding: str, text: str) -> None:
    path = tmp_path / "a.txt"
    whole = "ab\n" + text * 300_000  # the first megabyte ends within a character
    path.write_bytes(whole.encode(encoding))
    with Parser() as parser:
        pieces = list(read_documents(path, parser, Track(), TextLimits(max_whole_bytes=1 << 20)))
    assert all(isinstance(piece, Document) for piece in pieces)
    assert "".join(piece.text for piece in pieces) == whole


def test_of_a_long_text_the_pieces_that_are_not_in_its_encoding_are_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    good = f"{ENGLISH * 30}\n{CHINESE * 100}\n\n"
    stray = good.encode().replace("水车".encode(), b"\xff\x8d", 1)
    path.write_bytes((good * 250).encode() + stray + "在每一行中。".encode("gb18030") * 300 + b"\n\n" + good.encode())
    with Parser() as parser:
        pieces = list(read_documents(path, parser, Track(), TextLimits(max_whole_bytes=1000, piece_characters=2000)))
    documents = [piece for piece in pieces if isinstance(piece, Document)]
    assert [d.text for d in documents] == [good] * 250 + [stray.decode("utf-8", "replace"), good]
    assert [(p.place, p.reason) for p in pieces if isinstance(p, Unread)] == [
        ("piece 252", "It is not UTF-8, as what stands before it is. Save it as UTF-8.")
    ]


def test_a_track_knows_how_far_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": ENGLISH}) + "\n", encoding="utf-8")
    track = Track()
    with Parser() as parser:
        assert all(track.num_bytes > 0 for _ in read_documents(path, parser, track))
        assert len(list(read_documents(path, parser, track))) == 1
    assert track.num_bytes == 2 * path.stat().st_size


def test_folders_globs_and_names(tmp_path: Path) -> None:
    for name in ("b/z.txt", "a.md", "b/x.jsonl", ".hidden/c.txt", "b/.d.txt", "b/picture.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text('{"text": "x"}', encoding="utf-8")
    found = open_corpus([tmp_path, tmp_path / "a.md", tmp_path / "b" / "*.txt"])
    assert [str(p.relative_to(tmp_path)) for p in found.files] == ["a.md", "b/x.jsonl", "b/z.txt"]
    assert found.passed_over == {".png": 1}
    assert open_corpus([Path("**/*.md")]).files == [Path("a.md")]
    with pytest.raises(DataError, match="No file matches"):
        open_corpus([tmp_path / "*.rst"])
    with pytest.raises(DataError, match="is of no kind that is read: .*, each also compressed"):
        open_corpus([tmp_path / "b/picture.png"])


def test_what_is_left_out_is_one_entry_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": 1}\n{"text": "good"}\n{"text": 2}\n', encoding="utf-8")
    (tmp_path / "b.txt.gz").write_bytes(b"no gzip")
    corpus = open_corpus([tmp_path])
    assert [d.text for d in corpus] == ["good"]
    assert corpus.left_out[0] == (str(tmp_path / "a.jsonl"), "line 1: `text` is 1; each row needs a text. (2 such)")
    assert "Not a gzipped file" in corpus.left_out[1][1]
    assert [d.text for d in corpus] == ["good"]
    assert len(corpus.left_out) == 2


def test_the_name_of_a_file_says_its_split() -> None:
    def split(source: str) -> str:
        return split_of(Document(text="x", id="1", source=source), 0.0)

    held_out = (
        *("validation-00003.jsonl.gz", "dev.txt", "valid_1.jsonl", "validation-00000-of-00001.parquet", "val.jsonl", "validation.7.txt"),
        "validation-00000-of-00001-a09b74b3ef9c3b56.parquet",
    )
    assert {name for name in held_out if split(f"a/{name}") != "validation"} == set()
    others = ("training.txt", "devil.txt", "dev.md", "valid.html", "validation.pdf", "train-00000-of-00002.parquet", "value.txt")
    assert {name for name in others if split(f"a/{name}") != "train"} == set()


@pytest.mark.skipif(find_spec("pyarrow") is not None, reason="pyarrow is there")
def test_a_missing_library_is_named_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"")
    with pytest.raises(DependencyError, match=r"needs pyarrow.*\[corpus\]"):
        open_corpus([tmp_path])


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([".txt", ".jsonl", ".jsonl.gz", ".mbox", ".eml", ".txt.bz2", ".md.xz"]), st.binary(max_size=200))
def test_no_bytes_break_the_reading(suffix: str, data: bytes) -> None:
    path = Path(f"any{suffix}")
    path.write_bytes(data)
    with Parser() as parser:
        for item in read_documents(path, parser, Track()):
            assert item.source == str(path)
            assert item.text.strip() if isinstance(item, Document) else item.reason


@needs("zstandard")
def test_frames_of_zstandard_behind_one_another_are_one_file(tmp_path: Path) -> None:
    import zstandard

    parts = [f"{number} wheel\n".encode() * 5000 for number in range(3)]
    path = tmp_path / "a.txt.zst"
    path.write_bytes(b"".join(map(zstandard.compress, parts)))
    with open_stream(path) as stream:
        assert stream.read() == b"".join(parts)
    path.write_bytes(b"".join(map(zstandard.compress, parts))[:-9])
    with open_stream(path) as stream, pytest.raises(EOFError, match="before its last frame"):
        stream.read()
