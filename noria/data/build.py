"""`noria data build`: from a pile of text of all kinds a clean corpus folder, which `noria pretrain --corpus` takes.

In: files, folders, globs. Out, in the folder: `train-*.jsonl.gz` and `validation-*.jsonl.gz` (rows of `text`, `id`, `source`, `language` and, where
they are known, `url` and `license`), `dropped/` with everything that was taken out and why, `funnel.svg`, and, written last, `corpus.json`. What is
needed to go on after a kill stands in `.build/` until then: finished tasks are kept, an unfinished one begins again, and the result is the same.
"""

import json
import shutil
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict

from noria.data.build_config import BuildConfig
from noria.data.contamination import read_evaluation
from noria.data.contents import Contents, Funnel
from noria.data.corpus import BUILT, SCRATCH, open_corpus
from noria.data.documents import whole_characters
from noria.data.parse import INSTALL_CORPUS
from noria.data.picture import funnel_picture
from noria.errors import ArtifactError, ConfigError, DataError, DependencyError, StoreError
from noria.store import claim, claimed, hardware, refuse_other, sizes, versions, write_file
from noria.store.claim import give_up
from noria.store.files import disk_errors

if TYPE_CHECKING:
    from noria.data.recipe import Recipe

PICTURE = "funnel.svg"
LIBRARIES = ("datatrove", "ftfy", "py3langid", "trafilatura", "markitdown", "mwparserfromhell", "warcio", "pyarrow", "presidio-analyzer")
_BYTES_WORTH_A_WORKER = 20_000_000
"""A process of its own takes seconds to start."""
_SECONDS_BETWEEN_LOOKS = 0.3

Report = Callable[[str, float, float], None]
"""Told a stage's name, what is done and what there is in all."""


class Manifest(BaseModel):
    """`corpus.json`: what was asked, what came of it, with what it was made."""

    model_config = ConfigDict(frozen=True)

    request: dict[str, Any]
    funnel: Funnel
    contents: Contents
    passed_over: dict[str, int] = {}
    """Files in the folders given that are of no kind that is read, by the end of their names, and those named `test` or `eval`."""
    evaluation: dict[str, Any] = {}
    """Of the files given with `--against`: their names, how many texts were looked for, how many were too short to be."""
    files: str = ""
    """Tells the files that were read from others, and from themselves once they have changed."""
    versions: dict[str, str] = {}
    hardware: dict[str, Any] = {}


def build(config: BuildConfig, paths: Sequence[Path], out: Path, report: Report, against: Sequence[Path] = ()) -> Manifest:
    """Make a corpus on this machine; a finished `out` is returned as it is, a begun one is gone on with.

    Args:
        against: evaluation files whose texts no document may hold.

    Raises:
        ConfigError: an `out` that was begun, or made, otherwise, or that holds something else.
        DataError: nothing to read, nothing left, or an evaluation file that cannot be read.
        DependencyError: a library is not installed.
        StoreError: the disk refuses.
    """
    if (out / BUILT).is_file():
        made = read_manifest(out)
        refuse_other(out, {"settings": made.request}, {"settings": _asked(config, paths, against)})
        if made.files and _have_changed(made.files, paths, out, against):
            raise ConfigError(f"'{out}' was made from other files, or they have changed since. Give a new `--out`, or delete the folder.")
        shutil.rmtree(out / SCRATCH, ignore_errors=True)  # a kill may have left it
        return made
    recipe = begin(config, paths, out, against)
    from noria.data.local import LocalExecutor

    with _alone(recipe):
        for stage in recipe.stages():
            executor = LocalExecutor(stage, recipe.log_dir(stage.name), _num_workers(recipe, stage.num_tasks))
            with disk_errors(out, only_full=True), _watched(recipe.progress_dir(stage.name), stage.num_tasks, stage.name, report):
                executor.run()
        return finish(recipe)


def begin(config: BuildConfig, paths: Sequence[Path], out: Path, against: Sequence[Path] = ()) -> "Recipe":
    """Check everything that can be checked beforehand, and claim the folder; see `build`."""
    corpus = open_corpus(paths).without(out)
    files = tuple(corpus.files)
    if against:
        read_evaluation(tuple(against))
    try:
        from noria.data.recipe import Recipe
    except ImportError as error:
        raise DependencyError(f"Building a corpus needs {error.name}. {INSTALL_CORPUS}") from error
    recipe = Recipe(config=config, files=files, passed_over=corpus.passed_over, against=tuple(against), out=out, scratch=out / SCRATCH)
    claim(out, recipe.scratch, {"settings": _asked(config, paths, against), "files": sizes((*files, *against))}, "noria data build")
    return recipe


def finish(recipe: "Recipe") -> Manifest:
    """Add up what the tasks counted and write the manifest; then what was needed on the way is removed.

    Raises:
        ArtifactError: the stages are not done.
        DataError: no document is left.
    """
    from noria.data.kept import Kept

    parts = [recipe.kept_dir / f"{rank:05d}" for rank in range(recipe.num_tasks)]
    try:
        contents = Contents.sum(Contents.model_validate_json(Path(f"{part}.contents.json").read_bytes()) for part in parts)
        last = Funnel.sum(Funnel.model_validate_json(Path(f"{part}.last.json").read_bytes()) for part in parts)
        cleaning = Kept(recipe.kept_dir, recipe.num_tasks).funnel()
    except OSError as error:
        raise ArtifactError(f"The corpus in '{recipe.out}' is not made to its end ({error}). Run the same command again.") from error
    funnel = Funnel(came_in=cleaning.came_in, dropped=cleaning.dropped + last.dropped, went_out=last.went_out, redacted=cleaning.redacted)
    if not contents.total.documents:
        if not funnel.dropped:  # nothing that anybody could look at: the folder is free again
            give_up(recipe.out, recipe.scratch)
        raise DataError(_nothing_left(recipe, funnel))
    manifest = Manifest(
        request=claimed(recipe.scratch)["settings"],
        funnel=funnel,
        contents=contents,
        passed_over=recipe.passed_over,
        evaluation=_evaluation(recipe.against),
        files=_mark(claimed(recipe.scratch)["files"]),
        versions=versions() | _library_versions(),
        hardware=hardware(),
    )
    write_file(recipe.out / PICTURE, [funnel_picture(funnel)])
    write_file(recipe.out / BUILT, [manifest.model_dump_json(indent=2) + "\n"])
    shutil.rmtree(recipe.scratch, ignore_errors=True)
    return manifest


def read_manifest(out: Path) -> Manifest:
    """The manifest of a finished corpus. Raises ArtifactError."""
    try:
        return Manifest.model_validate_json((out / BUILT).read_bytes())
    except (OSError, ValueError) as error:
        raise ArtifactError(f"'{out / BUILT}' cannot be read ({error!s:.200}). Delete the folder and run `noria data build` again.") from error


def _mark(files: Sequence[Sequence[str | int]]) -> str:
    return sha256(json.dumps(files).encode()).hexdigest()


def _have_changed(mark: str, paths: Sequence[Path], out: Path, against: Sequence[Path]) -> bool:
    """Whether other files would be read now; where they are gone, what was made of them stays as it is."""
    try:
        return mark != _mark(sizes((*open_corpus(paths).without(out).files, *against)))
    except (DataError, OSError):
        return False


def _asked(config: BuildConfig, paths: Sequence[Path], against: Sequence[Path]) -> dict[str, Any]:
    """What makes two requests the same."""
    settings = config.model_dump(mode="json", exclude={"workers"})
    told = {name: [whole_characters(str(path.absolute())) for path in given] for name, given in (("paths", paths), ("against", against))}
    return {**settings, **told}


def _num_workers(recipe: "Recipe", num_tasks: int) -> int:
    wanted = recipe.config.workers
    if wanted is None:
        num_bytes = sum(path.stat().st_size for path in recipe.files)
        wanted = min(hardware()["cpus"] or 1, num_bytes // _BYTES_WORTH_A_WORKER)
    return max(1, min(wanted, num_tasks))


@contextmanager
def _alone(recipe: "Recipe") -> Generator[None]:
    """Keep a second process out of the folder; the lock goes with whoever holds it."""
    try:
        with FileLock(recipe.scratch / "lock", timeout=0, is_singleton=False):
            yield
    except Timeout as error:
        raise StoreError(f"Another `noria data build` is at work in '{recipe.out}'. Wait for it, or stop it and run this again.") from error


@contextmanager
def _watched(folder: Path, num_tasks: int, stage: str, report: Report) -> Generator[None]:
    """Report how far the tasks say they are, as long as they run, wherever they run."""
    folder.mkdir(parents=True, exist_ok=True)
    done = threading.Event()

    def look() -> None:
        while not done.wait(_SECONDS_BETWEEN_LOOKS):
            report(stage, min(_progress(folder) / num_tasks, 0.999), 1.0)

    report(stage, 0.0, 1.0)
    watcher = threading.Thread(target=look, name="noria-progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
    report(stage, 1.0, 1.0)


def _progress(folder: Path) -> float:
    total = 0.0
    for path in folder.glob("[0-9]*"):
        with suppress(OSError, ValueError):
            total += float(path.read_text(encoding="utf-8"))
    return total


def _nothing_left(recipe: "Recipe", funnel: Funnel) -> str:
    most = max(funnel.dropped, key=lambda loss: loss.documents, default=None)
    if most is None:
        return "No document was read: the files hold no text. Check the paths given."
    return (
        f"No document is left of {funnel.came_in.documents}: most were dropped by `{most.step}` ({most.reason}). "
        f"See '{recipe.out / 'dropped'}', and change the rules with `--set` and another `--out`."
    )


def _evaluation(against: tuple[Path, ...]) -> dict[str, Any]:
    if not against:
        return {}
    found = read_evaluation(against)
    return {"files": [whole_characters(str(path)) for path in against], "texts": found.num_texts, "too_short": found.num_short}


def _library_versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
