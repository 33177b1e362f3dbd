"""Loading a base model for training: plain fp32 weights in transformers, with the tokenizer that serving uses.

In: a `BaseModel`. Out: a transformers model (tied embeddings kept tied) and a `Tokenizer`. Weights that come as GGUF are dequantized once
and kept as a plain checkpoint under `NORIA_HOME/models`; the folder appears whole or not at all, whichever process makes it. Architectures
that `noria.model.layout` does not know are read by transformers, which takes a minute where we take seconds.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from noria.config import home_dir
from noria.errors import DependencyError, ModelError
from noria.model import layout
from noria.model.gguf_file import GgufTensor, read_head, read_tensors
from noria.model.registry import BaseModel
from noria.model.tokenizer import Tokenizer, load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_FORMAT = "3"  # part of the cache key: raise it when the conversion changes
_NEEDS_TORCH = "Training and the transformers engine need torch: run `make install` in the clone of Noria."


def load_for_training(base: BaseModel) -> "tuple[PreTrainedModel, Tokenizer]":
    """The model in fp32, in evaluation mode, and its tokenizer. Raises ModelError, DependencyError."""
    return load_checkpoint(plain_checkpoint(base)), load_tokenizer(base.path)


def load_checkpoint(folder: Path) -> "PreTrainedModel":
    """A transformers model in fp32 from a Hugging Face folder. Raises ModelError, DependencyError."""
    try:
        import torch
        from transformers import AutoModelForCausalLM
    except ImportError as error:
        raise DependencyError(_NEEDS_TORCH) from error
    check_decoder(folder)
    try:
        return AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32, local_files_only=True).eval()
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"The model in '{folder}' cannot be loaded: {error}.") from error


def check_decoder(folder: Path) -> None:
    """Refuse a folder whose weights are of an encoder or encoder-decoder: transformers would make a decoder of them, with a random output layer.

    Raises ModelError.
    """
    try:
        made_as: list[str] = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("architectures") or []
    except (OSError, ValueError):
        return  # transformers says what is wrong with it
    if made_as and not any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in made_as):
        raise ModelError(f"The model in '{folder}' is a {made_as[0]}, which does not write text from left to right. Name a decoder.")


def read_config(folder: Path, **settings: Any) -> Any:
    """The folder's configuration as transformers reads it, with these settings in it. Raises ModelError."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(str(folder), local_files_only=True, **settings)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"'{folder}' has no configuration that transformers reads: {error!s:.200}. Name another `--base`.") from error


def plain_checkpoint(base: BaseModel) -> Path:
    """A folder with config.json, model.safetensors and the tokenizer; made on first use if the base is a GGUF file."""
    if base.kind == "folder":
        return base.path
    target = home_dir() / "models" / f"{base.path.stem}-{fingerprint(base.path)}"
    if (target / "config.json").is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        dequantize(base.path, making)
        load_tokenizer(base.path).save(making)
        making.rename(target)
    except OSError as error:
        if not (target / "config.json").is_file():  # else another process was quicker
            raise ModelError(f"The plain copy of '{base.path}' could not be written to '{target}': {error}.") from error
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return target


def dequantize(gguf: Path, folder: Path) -> None:
    """Write the weights of a GGUF file as config.json and model.safetensors in fp32. Raises ModelError, DependencyError."""
    fields, tensors = read_head(gguf)
    if not layout.is_known(fields, tensors):
        _dequantize_with_transformers(gguf, folder)
        return
    try:
        from safetensors.numpy import save_file
    except ImportError as error:
        raise DependencyError(_NEEDS_TORCH) from error
    config = layout.hugging_face_config(fields, tensors)
    save_file(dict(_plain_tensors(gguf, tensors, config)), str(folder / "model.safetensors"), metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")


def _plain_tensors(gguf: Path, tensors: dict[str, GgufTensor], config: dict[str, Any]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    for name, weight in read_tensors(gguf, tensors):
        theirs = layout.hugging_face_name(name)
        heads = layout.heads_of(theirs, config)
        yield theirs, weight if heads is None else layout.split_heads(weight, heads)


def _dequantize_with_transformers(gguf: Path, folder: Path) -> None:
    try:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM
    except ImportError as error:
        raise DependencyError(_NEEDS_TORCH) from error
    try:
        read = AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype=torch.float32)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"The weights in '{gguf}' cannot be read for training: {error}.") from error
    config = AutoConfig.for_model(**{k: v for k, v in read.config.to_dict().items() if k not in ("quantization_config", "_name_or_path")})
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)  # what was read from GGUF refuses to be saved
    plain.load_state_dict(read.state_dict())
    plain.save_pretrained(str(folder))


def fingerprint(*paths: Path) -> str:
    """A name for the content of a model's files, to cache what is made from it."""
    digest = hashlib.sha256(_FORMAT.encode())
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()[:16]
