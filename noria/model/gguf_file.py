"""Reading the head of a GGUF file: tokenizer, chat template, shapes, and where the tensors are.

In: the path of a GGUF file (version 2 or 3, little endian). Out: its key-value fields as plain Python values, in file order, and its
tensors' places. The `gguf` package's reader builds a numpy view for every one of a hundred thousand token strings and takes seconds; this
one takes a tenth of a second.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import mmap
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noria.errors import ModelError

UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
"""Kinds of metadata."""
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}


@dataclass(frozen=True, kw_only=True)
class GgufField:
    """One metadata field. `item_kind` is the kind of an array's items, else None; kinds are GGUF's numbers."""

    kind: int
    item_kind: int | None
    value: Any


@dataclass(frozen=True, kw_only=True)
class GgufTensor:
    """Where a tensor is. `shape` is as numpy has it (rows first); `kind` is the number of its quantization; `offset` counts from the file's start."""

    shape: tuple[int, ...]
    kind: int
    offset: int


def read_metadata(path: Path) -> dict[str, GgufField]:
    """All metadata fields of the file. Raises ModelError if it is no readable GGUF file."""
    return read_head(path)[0]


def read_head(path: Path) -> tuple[dict[str, GgufField], dict[str, GgufTensor]]:
    """Metadata fields and tensors' places, by name. Raises ModelError if it is no readable GGUF file."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data[:4] != b"GGUF":
                raise ModelError(f"'{path}' is no GGUF file: it begins with {data[:4]!r}. Name a .gguf file or a model folder in `[model] base`.")
            return _Cursor(data).head()
    except FileNotFoundError as error:
        raise ModelError(f"No GGUF file at '{path}'. Check `[model] base` in noria.toml.") from error
    except (struct.error, ValueError, UnicodeDecodeError, OSError, KeyError) as error:
        raise ModelError(f"'{path}' is a damaged or cut-off GGUF file ({error}). Fetch it again.") from error


def read_tensors(path: Path, tensors: Mapping[str, GgufTensor]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """The tensors in fp32, one after the other. Raises ModelError if the file is cut off or of an unknown quantization."""
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
    from gguf.quants import dequantize

    data = np.memmap(path, dtype=np.uint8, mode="r")
    for name, tensor in tensors.items():
        try:
            kind = GGMLQuantizationType(tensor.kind)
            block, num_bytes = GGML_QUANT_SIZES[kind]
            raw = data[tensor.offset : tensor.offset + int(np.prod(tensor.shape)) // block * num_bytes]
            weight = dequantize(raw.reshape(*tensor.shape[:-1], tensor.shape[-1] // block * num_bytes), kind)
        except (ValueError, NotImplementedError) as error:
            raise ModelError(f"The tensor {name!r} in '{path}' cannot be read ({error}). Fetch the file again, or name one of type Q8_0.") from error
        yield name, np.ascontiguousarray(weight.astype(np.float32, copy=False).reshape(tensor.shape))


class _Cursor:
    """Walks over the header of a mapped file."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._at = 4

    def head(self) -> tuple[dict[str, GgufField], dict[str, GgufTensor]]:
        version = self._scalar("<I")
        if version not in (2, 3):
            raise ValueError(f"version {version}, known are 2 and 3")
        num_tensors, num_fields = self._unpack("<QQ")
        fields = dict(self._field() for _ in range(num_fields))
        places = [(self._string(), self._unpack(f"<{self._scalar('<I')}Q"), *self._unpack("<IQ")) for _ in range(num_tensors)]
        alignment = fields["general.alignment"].value if "general.alignment" in fields else 32
        start = -(-self._at // alignment) * alignment
        return fields, {name: GgufTensor(shape=shape[::-1], kind=kind, offset=start + offset) for name, shape, kind, offset in places}

    def _field(self) -> tuple[str, GgufField]:
        key, kind = self._string(), self._scalar("<I")
        if kind != ARRAY:
            return key, GgufField(kind=kind, item_kind=None, value=self._value(kind))
        item_kind, length = self._scalar("<I"), self._scalar("<Q")
        if item_kind == STRING:
            return key, GgufField(kind=kind, item_kind=item_kind, value=[self._string() for _ in range(length)])
        layout = f"<{length}{_SCALARS[item_kind][1]}"
        return key, GgufField(kind=kind, item_kind=item_kind, value=list(self._unpack(layout)))

    def _value(self, kind: int) -> Any:
        return self._string() if kind == STRING else self._scalar(_SCALARS[kind])

    def _string(self) -> str:
        length = self._scalar("<Q")
        if self._at + length > len(self._data):
            raise ValueError("a string reaches behind the end")
        text = self._data[self._at : self._at + length].decode("utf-8")
        self._at += length
        return text

    def _scalar(self, layout: str) -> Any:
        return self._unpack(layout)[0]

    def _unpack(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from(layout, self._data, self._at)
        self._at += struct.calcsize(layout)
        return values
