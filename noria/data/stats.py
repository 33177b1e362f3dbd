"""`noria data stats`: what corpora hold.

In: a folder that `noria data build` made, or any files that are read as a corpus. Out: `Stats`; of a built folder with its funnel, as the manifest
has it, of other files by reading them all.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from noria.data.build import PICTURE, read_manifest
from noria.data.contents import Contents, Funnel
from noria.data.corpus import BUILT, open_corpus, split_by_name
from noria.data.language import identify
from noria.data.picture import funnel_picture
from noria.errors import DataError
from noria.store import write_file


class Stats(BaseModel):
    """What a corpus holds and, if it was built, how it came about."""

    contents: Contents
    funnel: Funnel | None = None
    evaluation: dict[str, Any] = {}
    passed_over: dict[str, int] = {}
    picture: str | None = None
    """Path of the picture of the funnel."""
    left_out: list[tuple[str, str]] = []
    """Files that were not read whole, each with the reason."""


def stats(paths: Sequence[Path], report: Callable[[str, float, float], None]) -> Stats:
    """Count what stands in a built folder, or in files of any kind. Raises DataError, ArtifactError."""
    if len(paths) == 1 and (paths[0] / BUILT).is_file():
        return _of_built(paths[0])
    corpus = open_corpus(paths)
    contents, total = Contents(), max(corpus.num_bytes, 1)
    for document in corpus:
        row = {"text": document.text, "source": document.origin or document.source, "license": document.license}
        contents.add({**row, "language": document.language or identify(document.text)[0]}, split_by_name(document.source) or "none named")
        report("reading", min(contents.total.bytes / total, 0.999), 1)
    report("reading", 1, 1)
    if not contents.total.documents:
        reason = f": {corpus.left_out[0][0]}: {corpus.left_out[0][1]}" if corpus.left_out else ""
        raise DataError(f"No document could be read{reason}.")
    return Stats(contents=Contents.sum([contents]), passed_over=corpus.passed_over, left_out=corpus.left_out)


def _of_built(folder: Path) -> Stats:
    made = read_manifest(folder)
    picture = folder / PICTURE
    if not picture.is_file():
        write_file(picture, [funnel_picture(made.funnel)])
    return Stats(contents=made.contents, funnel=made.funnel, evaluation=made.evaluation, passed_over=made.passed_over, picture=str(picture))
