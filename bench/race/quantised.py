"""
Dedicated networks in 8 bits, as onnxruntime's own tools make them: static, weights per channel, ranges by the
smallest and largest value over some images. Percentiles, and leaving the first convolution out, agreed no better
with the network in float32; signed activations run at less than half the speed.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

#: What runs in 8 bits. The norm that stands alone does not: its scale is no weight that the tools know.
OPERATORS = ["Conv", "Add", "Relu", "AveragePool", "MaxPool", "Pad", "Concat"]


class Images(CalibrationDataReader):
    """Pixels `uint8 [H, W, 3]`, one at a time."""

    def __init__(self, images: list[np.ndarray]):
        self.rest: Iterator[np.ndarray] = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self.rest, None)
        return None if image is None else {"pixels": image[None]}


def has_vnni() -> bool:
    """Without these instructions sums of two products of 8 bits saturate, unless weights keep to 7."""
    return "vnni" in Path("/proc/cpuinfo").read_text()


def quantise(network: Path, images: list[np.ndarray]) -> bytes:
    """@param images: of what the network will see"""
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        prepared, made = Path(folder) / "prepared.onnx", Path(folder) / "made.onnx"
        quant_pre_process(str(network), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(made),
            Images(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=OPERATORS,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            reduce_range=not has_vnni(),
        )
        return made.read_bytes()
