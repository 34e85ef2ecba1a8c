"""Reads PyTorch checkpoints of strangers without running what is in them.

A checkpoint is a pickle: it may name any function of Python, which reading then calls. Here only what rebuilds tensors and plain
containers is called. Everything else (an optimiser's state, argparse's namespace, NumPy's numbers, the classes of some training
code) becomes an object that holds nothing, on torch 1.13 and 2.x alike. What it does not know: networks.
"""
from __future__ import annotations

import collections
import io
import pickle
import zipfile
from pathlib import Path

import torch

DTYPES = {"FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16, "BFloat16Storage": torch.bfloat16,
          "LongStorage": torch.int64, "IntStorage": torch.int32, "ShortStorage": torch.int16, "CharStorage": torch.int8,
          "ByteStorage": torch.uint8, "BoolStorage": torch.bool}


class CheckpointError(ValueError):
    """The file holds no state dict that can be read; the message says why."""


class Nothing:
    """Stands for an object of a class that is not read: takes whatever a pickle gives it."""

    def __new__(cls, *_, **__):
        return object.__new__(cls)

    def __init__(self, *_, **__):
        pass

    def __call__(self, *_, **__):
        return Nothing()

    def __setstate__(self, _):
        pass

    def __setitem__(self, *_):
        pass

    def append(self, _):
        pass

    def extend(self, _):
        pass

    add = update = append


class Unpickler(pickle.Unpickler):
    """Reads the pickle inside a checkpoint of torch 1.6 or later. (torch.load of 1.13 ignores an unpickler that it is given.)"""

    def __init__(self, archive: zipfile.ZipFile):
        index = next((n for n in archive.namelist() if n.endswith("data.pkl")), None)
        if index is None:
            raise CheckpointError("it is a zip file without data.pkl")
        super().__init__(io.BytesIO(archive.read(index)))
        self._archive, self._folder, self._storages = archive, index[:-len("data.pkl")], {}

    def find_class(self, module: str, name: str):
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        return {("torch._utils", "_rebuild_tensor_v2"): rebuilt, ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
                ("collections", "OrderedDict"): collections.OrderedDict, ("torch", "Size"): tuple}.get((module, name)) or type(name, (Nothing,), {})

    def persistent_load(self, saved: tuple):
        """A storage: all numbers that some tensors are views of, `[n]`."""
        _, dtype, key = saved[:3]
        if not isinstance(dtype, torch.dtype):
            return None
        if key not in self._storages:
            content = bytearray(self._archive.read(f"{self._folder}data/{key}"))
            self._storages[key] = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
        return self._storages[key]


def rebuilt(storage, offset: int, size: tuple, stride: tuple, *_):
    return torch.as_strided(storage, size, stride, offset).clone() if isinstance(storage, torch.Tensor) else Nothing()


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The state dict of a checkpoint: the file itself, or its entry `net`, `state_dict`, `model` or `model_state_dict`, whatever else
    lies beside it. The prefix of DataParallel is removed. Raises CheckpointError.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                state = Unpickler(archive).load()
        else:  # as torch wrote before 1.6; nothing but tensors and plain containers may be in it
            state = torch.load(str(path), map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # pickles and PyTorch raise all kinds
        raise CheckpointError(f"{path} is no checkpoint of PyTorch that can be read: {error}") from error
    for key in ("net", "state_dict", "model_state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not any(isinstance(v, torch.Tensor) for v in state.values()):
        what = "a pickled module" if isinstance(state, Nothing) else "no tensors by name"
        raise CheckpointError(f"{path} holds {what}, not a plain state dict; load it in the code that wrote it and save net.state_dict()")
    return {k[len("module."):] if k.startswith("module.") else k: v for k, v in state.items() if isinstance(v, torch.Tensor)}
