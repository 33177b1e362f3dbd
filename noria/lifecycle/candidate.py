"""The parts of a candidate that are made: tuned weights, and the file the engine reads.

In: the live release, a dataset, minutes. Out: artifacts of the kinds model and engine. torch is imported only when something is trained.
"""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

from noria.engine import EngineConfig
from noria.errors import ConfigError, DependencyError
from noria.lifecycle.datasets import Dataset
from noria.lifecycle.releases import Records, is_artifact
from noria.lifecycle.trial import Progress
from noria.model import BaseModel, ModelConfig, resolve
from noria.schema import Release
from noria.serve.serving import WEIGHTS_DIR, WEIGHTS_FILE
from noria.store import Artifact, file_hash

MODEL_DIR = "model"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Base:
    """The weights training begins with. `address` names them in a manifest; `origin` are the base weights they came from, at `origin_address`."""

    model: BaseModel
    address: str
    origin: BaseModel
    origin_address: str


def base_of(records: Records, live: Release) -> Base:
    """The live release's weights if they were tuned from the project's base model, else the base model: it may have been changed since."""
    origin = resolve(records.project.section("model", ModelConfig).base, records.project.root)
    address = f"{origin.name}:{file_hash(origin.path)}" if origin.path.is_file() else origin.name
    tuned = live.artifacts.get("model")
    if tuned is not None and is_artifact(tuned):
        artifact = records.artifacts.verify(tuned)
        if artifact.manifest.inputs.get("origin", address) == address:
            folder = artifact.path / MODEL_DIR
            return Base(model=BaseModel(name=origin.name, kind="folder", path=folder), address=tuned, origin=origin, origin_address=address)
    return Base(model=origin, address=address, origin=origin, origin_address=address)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Time:
    """For tuning a candidate: `minutes`, and the `then` seconds of what follows, for which a machine that becomes slower needs more."""

    minutes: float
    then: float = 0.0


def tune(records: Records, base: Base, dataset: Dataset, replay: list[Path], time: Time, seed: int, progress: Progress) -> Artifact:
    """Tuned weights as an artifact; the same request again is a no-op, a killed one resumes. Raises DependencyError without torch."""
    try:
        from noria.align import finetune
        from noria.train import Progress as TrainProgress
        from noria.train import TuneConfig
    except ImportError as error:
        raise DependencyError(
            f"Training needs torch, transformers and peft ({error.name} is missing): run `make install` in the clone of Noria."
        ) from error

    config = records.project.section("train", TuneConfig, {"minutes": time.minutes, "seed": seed})
    if config.method == "prompt":
        raise ConfigError('`[train] method` is "prompt"; a release needs one of: lora, dora, full. `noria tune` makes prompts.')
    rendering = records.project.section("model", ModelConfig).rendering

    def report(step: TrainProgress) -> None:
        progress("training", step.step, step.num_steps)

    def make(folder: Path) -> dict[str, Any]:
        return finetune(config, dataset.artifact.path / "train", base.model, folder, replay, on_progress=report, style=rendering, then=time.then)

    inputs = {
        "dataset": dataset.artifact.hash,
        "base": base.address,
        "origin": base.origin_address,
        **{f"replay{i}": path.parent.name for i, path in enumerate(replay)},
    }
    return records.artifacts.build("model", inputs, config.model_dump(mode="json") | {"rendering": rendering}, seed, make)


def build_engine(records: Records, model: Artifact, progress: Progress) -> Artifact:
    """What the engine reads: a GGUF file where the base model is one or openvino is to read it, else the tuned folder as it is."""
    origin = resolve(records.project.section("model", ModelConfig).base, records.project.root)
    as_gguf = origin.gguf is not None or records.project.section("engine", EngineConfig).kind == "openvino"

    def make(folder: Path) -> dict[str, Any]:
        progress("export", 0, 1)
        if as_gguf:
            from noria.model.export import export_gguf

            export_gguf(model.path / MODEL_DIR, origin.gguf, folder / WEIGHTS_FILE)
        else:
            shutil.copytree(model.path / MODEL_DIR, folder / WEIGHTS_DIR, dirs_exist_ok=True)
        progress("export", 1, 1)
        return {"megabytes": round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20, 1)}

    config = {"format": "gguf" if as_gguf else "folder"}
    return records.artifacts.build("engine", {"model": model.hash}, config, 0, make)
