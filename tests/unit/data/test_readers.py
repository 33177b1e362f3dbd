"""Every kind of file becomes documents; of a broken one, what can be read, and the reason for the rest."""

import json
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noria.data import Document, open_corpus, split_of
from noria.data.documents import Unread
from noria.data.parser import Parser
from noria.data.readers import TextLimits, Track, read_documents
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

    assert [split(f"a/{name}") for name in ("validation-00003.jsonl.gz", "dev.txt", "valid_1.jsonl", "training.txt", "devil.txt")] == [
        "validation", "validation", "validation", "train", "train",
    ]  # fmt: skip


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
