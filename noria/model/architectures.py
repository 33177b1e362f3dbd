"""Architectures to pre-train, by name, as transformers' own configurations, so that everything that reads Hugging Face folders reads them.

decoder: `llama` (Touvron et al. 2023), `gpt2` (Radford et al. 2019); encoder: `bert` (Devlin et al. 2019), `modernbert` (Warner et al. 2024);
encoder-decoder: `t5` (Raffel et al. 2020).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from noria.errors import ConfigError, DependencyError

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel

Architecture = Literal["llama", "gpt2", "bert", "modernbert", "t5"]
ObjectiveName = Literal["clm", "mlm-nsp", "denoise"]
ARCHITECTURES: dict[ObjectiveName, tuple[Architecture, ...]] = {"clm": ("llama", "gpt2"), "mlm-nsp": ("bert", "modernbert"), "denoise": ("t5",)}
"""Which architectures an objective trains; the first is the default."""
INIT_STD = 0.02


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Size of a model. `num_layers` counts each side of an encoder-decoder."""

    width: int
    num_layers: int
    num_heads: int
    num_kv_heads: int | None = None
    """Heads that keys and values have (llama only); None: as many as queries."""
    context: int = 1024
    """Longest sequence in tokens."""

    def __post_init__(self) -> None:
        if self.width % self.num_heads:
            raise ConfigError(f"A width of {self.width} is no multiple of {self.num_heads} heads. Choose `heads` so that it divides `width`.")
        if (self.width // self.num_heads) % 2:
            raise ConfigError(f"Heads of {self.width // self.num_heads} dimensions cannot be rotated: give each an even number.")
        if self.num_kv_heads is not None and self.num_heads % self.num_kv_heads:
            raise ConfigError(f"{self.num_heads} heads cannot share {self.num_kv_heads} key heads evenly. Choose a divisor.")

    @property
    def hidden(self) -> int:
        """Width of the feed-forward layer with three matrices: 8/3 of the width, in steps of 64 from there on."""
        wanted = 8 * self.width / 3
        step = 64 if self.width >= 256 else 8
        return max(step, round(wanted / step) * step)


def check_architecture(architecture: str, objective: ObjectiveName) -> Architecture:
    """The architecture, if the objective trains it. Raises ConfigError that names what it does train."""
    for known in get_args(Architecture):
        if known == architecture and known in ARCHITECTURES[objective]:
            return known
    fits = next((o for o, names in ARCHITECTURES.items() if architecture in names), None)
    allowed = ", ".join(ARCHITECTURES[objective])
    hint = f" {architecture!r} is trained by `--objective {fits}`." if fits else ""
    raise ConfigError(f"`--objective {objective}` does not train the architecture {architecture!r}; it trains: {allowed}.{hint}")


def make_config(architecture: Architecture, shape: Shape, vocab_size: int, special: dict[str, int]) -> "PretrainedConfig":
    """The configuration of a new model.

    Args:
        special: ids of the special tokens by role: `bos`, `eos`, `pad` (any of them may be left out).
    """
    try:
        import transformers
    except ImportError as error:
        raise DependencyError("Pre-training needs torch and transformers: run `make install` in the clone of Noria.") from error
    ids = {f"{role}_token_id": special.get(role) for role in ("bos", "eos", "pad")}
    if architecture == "modernbert":
        ids |= {"cls_token_id": special.get("bos"), "sep_token_id": special.get("eos")}
    return getattr(transformers, _CONFIGS[architecture])(vocab_size=vocab_size, **ids, **_FIELDS[architecture](shape))


def new_model(config: "PretrainedConfig", seed: int) -> "PreTrainedModel":
    """A model with random weights, in fp32: normal with deviation 0.02, what writes into the residual stream smaller by sqrt(2 layers) (GPT-2).

    The positions that a BERT learns begin as the sinusoids of Vaswani et al. (2017), of that deviation: a masked token is told by its neighbours
    alone, and from random positions it takes long to learn which those are.
    """
    import torch
    import transformers

    torch.manual_seed(seed)
    model: Any = getattr(transformers, _MODELS[config.model_type])(config)
    depth: int = config.num_hidden_layers
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2 and name.rpartition(".weight")[0].rpartition(".")[2] in _INTO_RESIDUAL:
                parameter.mul_((2 * depth) ** -0.5)
        if config.model_type == "bert":
            positions: torch.Tensor = model.bert.embeddings.position_embeddings.weight
            positions.copy_(_sinusoids(*positions.shape) * 2**0.5 * INIT_STD)
    return model


def _sinusoids(length: int, width: int) -> "torch.Tensor":
    """(length, width): sines in the even columns and cosines in the odd ones, of wave lengths from 2 pi to 10,000 times that."""
    import torch

    angles = torch.arange(length)[:, None] / 10_000 ** (torch.arange(0, width, 2) / width)
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)[:, :width]


def num_parameters(config: "PretrainedConfig") -> int:
    """Parameters of a model of this configuration, without making its weights."""
    import torch
    import transformers

    with torch.device("meta"):
        return getattr(transformers, _MODELS[config.model_type])(config).num_parameters()


_CONFIGS: dict[str, str] = {"llama": "LlamaConfig", "gpt2": "GPT2Config", "bert": "BertConfig", "modernbert": "ModernBertConfig", "t5": "T5Config"}
_MODELS: dict[str, str] = {
    "llama": "LlamaForCausalLM",
    "gpt2": "GPT2LMHeadModel",
    "bert": "BertForPreTraining",
    "modernbert": "ModernBertForMaskedLM",
    "t5": "T5ForConditionalGeneration",
}
_INTO_RESIDUAL = {"o_proj", "down_proj"}
"""Matrices of the llama family that GPT-2's rule makes smaller; the others' own initialization is kept."""


def _llama(shape: Shape) -> dict[str, Any]:
    return {
        "hidden_size": shape.width,
        "num_hidden_layers": shape.num_layers,
        "num_attention_heads": shape.num_heads,
        "num_key_value_heads": shape.num_kv_heads or shape.num_heads,
        "intermediate_size": shape.hidden,
        "max_position_embeddings": shape.context,
        "initializer_range": INIT_STD,
        "tie_word_embeddings": True,
        "rms_norm_eps": 1e-5,
    }


def _gpt2(shape: Shape) -> dict[str, Any]:
    return {
        "n_embd": shape.width,
        "n_layer": shape.num_layers,
        "n_head": shape.num_heads,
        "n_positions": shape.context,
        "activation_function": "gelu_pytorch_tanh",  # GPT-2's own formula as one operation instead of eight
        "initializer_range": INIT_STD,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
    }


def _bert(shape: Shape) -> dict[str, Any]:
    return {
        "hidden_size": shape.width,
        "num_hidden_layers": shape.num_layers,
        "num_attention_heads": shape.num_heads,
        "intermediate_size": 4 * shape.width,
        "max_position_embeddings": shape.context,
        "initializer_range": INIT_STD,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }


def _modernbert(shape: Shape) -> dict[str, Any]:
    return {
        "hidden_size": shape.width,
        "num_hidden_layers": shape.num_layers,
        "num_attention_heads": shape.num_heads,
        "intermediate_size": shape.hidden,
        "max_position_embeddings": shape.context,
        "initializer_range": INIT_STD,
        # Local windows pay from contexts of thousands of tokens on; without them rows can be packed.
        "global_attn_every_n_layers": 1,
    }


def _t5(shape: Shape) -> dict[str, Any]:
    return {
        "d_model": shape.width,
        "d_kv": shape.width // shape.num_heads,
        "d_ff": shape.hidden,
        "num_layers": shape.num_layers,
        "num_decoder_layers": shape.num_layers,
        "num_heads": shape.num_heads,
        "dropout_rate": 0.0,
        "feed_forward_proj": "gated-gelu",
        "decoder_start_token_id": 0,
    }


_FIELDS = {"llama": _llama, "gpt2": _gpt2, "bert": _bert, "modernbert": _modernbert, "t5": _t5}
