"""Loading a base model for training: plain fp32 weights in transformers, with the tokenizer that serving uses.

In: a `BaseModel`. Out: a transformers model (tied embeddings kept tied) and a `Tokenizer`. Weights that come as GGUF are dequantized once
and kept as a plain checkpoint under `NORIA_HOME/models`, because reading them from GGUF takes ten times as long; the folder appears whole
or not at all, whichever process makes it.
"""

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from noria.config import home_dir
from noria.errors import DependencyError, ModelError
from noria.model.registry import BaseModel
from noria.model.tokenizer import Tokenizer, load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_FORMAT = "1"  # part of the cache key: raise it when the conversion changes


def load_for_training(base: BaseModel) -> "tuple[PreTrainedModel, Tokenizer]":
    """The model in fp32, in evaluation mode, and its tokenizer. Raises ModelError, DependencyError."""
    folder = plain_checkpoint(base)
    return load_checkpoint(folder), load_tokenizer(base.path)


def load_checkpoint(folder: Path) -> "PreTrainedModel":
    """A transformers model in fp32 from a Hugging Face folder. Raises ModelError, DependencyError."""
    try:
        import torch
        from transformers import AutoModelForCausalLM
    except ImportError as error:
        raise DependencyError("Training and the transformers engine need torch: `pip install 'noria[train]'`.") from error
    try:
        return AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32, local_files_only=True).eval()
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"The model in '{folder}' cannot be loaded: {error}.") from error


def plain_checkpoint(base: BaseModel) -> Path:
    """A folder with config.json, model.safetensors and the tokenizer; made on first use if the base is a GGUF file."""
    if base.kind == "folder":
        return base.path
    target = home_dir() / "models" / f"{base.path.stem}-{_fingerprint(base.path)}"
    if (target / "config.json").is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        _dequantize(base.path, making)
        making.rename(target)
    except OSError as error:
        if not (target / "config.json").is_file():  # else another process was quicker
            raise ModelError(f"The plain copy of '{base.path}' could not be written to '{target}': {error}.") from error
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return target


def _dequantize(gguf: Path, folder: Path) -> None:
    try:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM
    except ImportError as error:
        raise DependencyError("Reading GGUF weights for training needs torch: `pip install 'noria[train]'`.") from error
    try:
        read = AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype=torch.float32)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"The weights in '{gguf}' cannot be read for training: {error}.") from error
    config = AutoConfig.for_model(**{k: v for k, v in read.config.to_dict().items() if k not in ("quantization_config", "_name_or_path")})
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)  # what was read from GGUF refuses to be saved
    plain.load_state_dict(read.state_dict())
    plain.save_pretrained(str(folder))
    load_tokenizer(gguf).save(folder)


def _fingerprint(path: Path) -> str:
    digest = hashlib.sha256(_FORMAT.encode())
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()[:16]
