"""Work to be killed: builds a corpus, and dies at the `fatal`-th change of a file below its folder. See `noria.testing.killing`."""

from pathlib import Path

import noria.data.local  # noqa: F401 - loaded once, before the lives are forked
from noria.data.build import build
from noria.data.build_config import BuildConfig
from noria.testing.killing import FaultPoints, serve


def main(source: str, out: str, fatal: int) -> None:
    """Build `out` from `source`; the number of changes on the way is left beside it."""
    points = FaultPoints(fatal)
    points.watch_files(Path(out))
    build(BuildConfig(validation_share=0.2, tasks=4, workers=1), [Path(source)], Path(out), lambda *_: None)
    Path(f"{out}.changes").write_text(str(points.num_passed))


if __name__ == "__main__":
    serve(main)
