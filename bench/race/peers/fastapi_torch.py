"""
The paper's own way in PyTorch, behind FastAPI: frozen convolutions once, and for each domain its 1x1 adapters,
scales and biases in memory. Each request runs the network with the adapters of its domain.
"""

import json
import os
import struct

import numpy as np
import torch
import torch.nn.functional as F

from images import decode
from service import Domains, application, best

torch.set_num_threads(int(os.environ.get("RACE_INTRA", "1")))
torch.set_grad_enabled(False)
LAYOUT = torch.channels_last if os.environ.get("RACE_CHANNELS_LAST") == "1" else torch.contiguous_format
#: Blocks of a stage; the first convolution of a stage has stride 2.
BLOCKS = 4

with np.load(os.environ["RACE_FROZEN"]) as weights:
    CONVS = {name: torch.from_numpy(weights[name]).contiguous(memory_format=LAYOUT) for name in weights.files}
#: The convolutions behind the stem, in pairs.
ORDER = sorted((name for name in CONVS if name != "stem.conv"), key=lambda name: (int(name.split(".")[1]), name))


def read_pack(path: str) -> tuple[dict, dict]:
    """Metadata, and tensors in float32 (docs/pack-format.md)."""
    with open(path, "rb") as file:
        raw = file.read()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    metadata = header.pop("__metadata__")
    tensors = {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        kind = np.dtype({"F32": np.float32, "F16": np.float16}[entry["dtype"]])
        values = np.frombuffer(raw, kind, (end - start) // kind.itemsize, 8 + length + start)
        tensors[name] = torch.from_numpy(values.reshape(entry["shape"]).astype(np.float32))
    return metadata, tensors


def load(path: str) -> tuple:
    metadata, tensors = read_pack(path)
    adapters = {}
    for slot in (*CONVS, "bn"):
        matrix = tensors.get(f"{slot}.matrix")
        kernel = None if matrix is None else matrix[:, :, None, None]
        adapters[slot] = tensors[f"{slot}.scale"].view(1, -1, 1, 1), tensors[f"{slot}.bias"], kernel
    mean, std = (torch.tensor(json.loads(metadata[key])).view(1, 3, 1, 1) for key in ("mean", "std"))
    head = tensors["head.weight"], tensors["head.bias"]
    return adapters, 1 / (255 * std), -mean / std, head, json.loads(metadata["labels"])


def slot(name: str, adapters: dict, x: torch.Tensor, stride: int) -> torch.Tensor:
    """scale * conv(x) + matrix · x + bias, the matrix on every stride-th pixel."""
    scale, bias, kernel = adapters[name]
    z = F.conv2d(x, CONVS[name], None, stride, 1)
    if kernel is None:
        return z * scale + bias.view(1, -1, 1, 1)
    return F.conv2d(x, kernel, bias, stride).addcmul_(z, scale)


def answer(domain: str, jpeg: bytes) -> dict:
    adapters, scale, shift, head, labels = domains.get(domain)
    with torch.inference_mode():
        pixels = torch.from_numpy(np.ascontiguousarray(decode(jpeg)))
        x = (pixels.permute(2, 0, 1)[None].float() * scale + shift).contiguous(memory_format=LAYOUT)
        x = slot("stem.conv", adapters, x, 1)
        for first, second in zip(ORDER[0::2], ORDER[1::2]):
            stride = 2 if int(first.split(".")[1]) % BLOCKS == 0 else 1
            y = slot(second, adapters, slot(first, adapters, x, stride).relu_(), 1)
            if stride == 2:
                x = F.pad(F.avg_pool2d(x, 2), (0, 0, 0, 0, 0, y.shape[1] - x.shape[1]))
            x = (y + x).relu_()
        norm_scale, norm_bias, _ = adapters["bn"]
        features = (x * norm_scale + norm_bias.view(1, -1, 1, 1)).relu_().mean((2, 3))
        scores = F.softmax(F.linear(features, *head), 1)[0].numpy()
    return best(domain, labels, scores)


domains = Domains(".safetensors", load)
app = application(answer)
