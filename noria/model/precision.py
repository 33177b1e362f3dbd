"""In which precision matrix products are computed. Importing this module does not import torch."""

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Precision = Literal["float32", "bfloat16"]


def native_bfloat16(device: "torch.device") -> bool:
    """Whether matrix products in bfloat16 are faster than in float32: processors without the instructions emulate them, slowly."""
    import torch

    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())  # pyright: ignore[reportPrivateUsage]


def dtype_of(wanted: Precision | None, device: "torch.device") -> "torch.dtype":
    """The precision that was set, or what the device is fast in."""
    import torch

    chosen = wanted or ("bfloat16" if native_bfloat16(device) else "float32")
    return torch.bfloat16 if chosen == "bfloat16" else torch.float32


def products_in(wanted: Precision | None, device: "torch.device") -> "torch.autocast":
    """Within it matrix products are computed in this precision, whatever was said around it."""
    import torch

    dtype = dtype_of(wanted, device)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)
