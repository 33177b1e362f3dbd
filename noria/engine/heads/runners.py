"""What computes a head's model: OpenVINO where the folder has its graph, else transformers.

A graph is written once, when a model is tuned (`write_graph`); weights are kept in half precision there.
"""

import logging
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from noria.engine.heads.reader import Batch, Floats, Reader, Runner
from noria.errors import DependencyError, ModelError
from noria.model.precision import Precision, products_in

GRAPH = "openvino_model.xml"
"""With its weights in `openvino_model.bin`: the names that optimum gives them."""
_HINTS = {"float32": "f32", "bfloat16": "bf16"}
_log = logging.getLogger(__name__)


def open_runner(folder: Path, reader: Reader) -> Runner:
    """Raises ModelError, DependencyError."""
    if (folder / GRAPH).is_file():
        return OpenVINORunner(folder, reader.precision)
    return transformers_runner(folder, reader)


class OpenVINORunner:
    """A graph on the processor; calls from several threads take turns, for each uses all cores. Raises ModelError."""

    def __init__(self, folder: Path, precision: Precision | None) -> None:
        import openvino

        settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", **({"INFERENCE_PRECISION_HINT": _HINTS[precision]} if precision else {})}
        try:
            self._graph = openvino.Core().compile_model(folder / GRAPH, "CPU", settings)
        except RuntimeError as error:
            raise ModelError(f"'{folder / GRAPH}' cannot be loaded: {error!s:.300}. Tune again.") from error
        self._names = {name for port in self._graph.inputs for name in port.names}
        self._lock = threading.Lock()

    def __call__(self, batch: Batch) -> Mapping[str, Floats]:
        with self._lock:
            found = self._graph({name: value for name, value in batch.items() if name in self._names})
            values = ((port.names, np.array(value, dtype=np.float32)) for port, value in found.items())
            return {name: value for names, value in values for name in names}


def transformers_runner(folder: Path, reader: Reader) -> Runner:
    """The folder as transformers loads it. Raises ModelError, DependencyError."""
    try:
        import torch
        import transformers
        from safetensors import SafetensorError
    except ImportError as error:
        raise DependencyError(f"'{folder}' has no `{GRAPH}`, and without it needs {error.name}: run `make install` in the clone of Noria.") from error
    auto: Any = getattr(transformers, reader.auto_class)
    try:
        model = auto.from_pretrained(str(folder), dtype=torch.float32, local_files_only=True).eval()
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"The model in '{folder}' cannot be loaded: {error!s:.300}. Tune again.") from error
    return torch_runner(model, reader.precision)


def torch_runner(model: Any, precision: Precision | None) -> Runner:
    """A model of torch, as it is at each call; products in `precision`, or in what the device is fast in. Threads take turns."""
    import torch

    lock = threading.Lock()

    def run(batch: Batch) -> Mapping[str, Floats]:
        with lock, torch.no_grad(), products_in(precision, model.device):
            found = model(**{name: torch.from_numpy(value).to(model.device) for name, value in batch.items()})
        return {name: found[name].float().cpu().numpy() for name in ("logits", "start_logits", "end_logits", "last_hidden_state") if name in found}

    return run


def write_graph(model: Any, reader: Reader, folder: Path) -> bool:
    """Write the graph of a torch model beside its weights; returns whether it could be traced, which some architectures cannot.

    Raises OSError.
    """
    import openvino
    import torch

    names = ["input_ids", "attention_mask", *(["token_type_ids"] if reader.with_kinds else [])]
    example = {name: torch.ones((2, 8), dtype=torch.long) for name in names}
    example["attention_mask"][1, 4:] = 0  # where nothing is padded, the mask would not be traced
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is constant in a trace
            graph = openvino.convert_model(model.eval(), example_input=example)
        for port in graph.inputs:
            port.get_node().set_partial_shape(openvino.PartialShape([-1, -1]))
        graph.validate_nodes_and_infer_types()
    except Exception as error:  # noqa: BLE001 - tracing fails in whatever way the architecture makes it
        _log.info("No OpenVINO graph of %s: %s", folder, error)
        return False
    try:
        openvino.save_model(graph, folder / GRAPH, compress_to_fp16=True)
    except RuntimeError as error:
        for path in (folder / GRAPH, (folder / GRAPH).with_suffix(".bin")):
            path.unlink(missing_ok=True)
        raise OSError(f"'{folder / GRAPH}' cannot be written: {error!s:.300}") from error
    return True
