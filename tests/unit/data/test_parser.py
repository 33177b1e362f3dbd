"""A file that hangs, crashes or eats memory costs itself, never the run."""

from pathlib import Path

import psutil
import pytest

from noria.data.parser import Parser
from noria.errors import DataError

PAGE = Path("a.html")


def children() -> list[psutil.Process]:
    return [p for p in psutil.Process().children() if "noria.data.parser_worker" in " ".join(p.cmdline())]


def test_one_process_serves_many_files_and_ends_with_its_parser() -> None:
    with Parser() as parser:
        assert parser.parse(Path("a.txt"), b"text").text == "text"
        assert children() == []
        assert parser.parse(PAGE, b"<title>T</title><p>one</p>").title == "T"
        (first,) = children()
        assert parser.parse(PAGE, "<p>二</p>".encode()).text == "二"
        assert children() == [first]
        with pytest.raises(DataError, match="holds no text"):
            parser.parse(PAGE, b"<p></p>")
    assert children() == []


def test_a_process_that_dies_is_replaced_for_the_next_file() -> None:
    with Parser() as parser:
        parser.parse(PAGE, b"<p>one</p>")
        children()[0].kill()
        with pytest.raises(DataError, match="crashed|ended before"):
            parser.parse(PAGE, b"<p>two</p>")
        assert parser.parse(PAGE, b"<p>three</p>").text == "three"


def test_a_file_that_takes_too_long_is_given_up() -> None:
    with Parser(max_seconds=0.2) as parser:
        assert parser.parse(PAGE, b"<p>quick</p>").text == "quick"
        with pytest.raises(DataError, match=r"takes longer than 0\.2 seconds"):
            parser.parse(PAGE, b"<p>" + b"<b>x" * 1_500_000)
        assert parser.parse(PAGE, b"<p>quick</p>").text == "quick"


def test_a_file_that_takes_too_much_memory_is_given_up() -> None:
    with Parser() as parser:
        parser.parse(PAGE, b"<p>small</p>")
        needed = children()[0].memory_info().vms
    with Parser(max_memory_bytes=needed + (30 << 20)) as parser:
        assert parser.parse(PAGE, b"<p>small</p>").text == "small"
        with pytest.raises(DataError, match="memory"):
            parser.parse(PAGE, b"<p>" + b"x" * 19_000_000)
        assert parser.parse(PAGE, b"<p>small</p>").text == "small"
