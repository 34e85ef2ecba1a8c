"""
The alternative to a family: one whole network for each domain, trunk and adapter merged.

It is made from the family's own graph for batches of one domain. Each slot there is

    scale * conv(x, W) + conv1x1(x at the kernel's centre, matrix) + bias

and becomes one convolution with the weights `diag(scale) W`, plus the matrix at the kernel's centre. The domain's
normalisation of pixels and its head with the activation are part of the network too. The file's metadata hold the
labels, so that one file is one domain.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from packs import Pack


class Family:
    """A family's folder: its manifest and its graph for batches of one domain, with the trunk's weights."""

    def __init__(self, folder: Path):
        self.manifest = json.loads((folder / "family.json").read_text())
        if self.manifest["design"] not in ("parallel", "bn"):
            raise SystemExit(f"{folder}: packs of the design {self.manifest['design']} cannot be merged here; parallel and bn can")
        graphs = {(g["serves"], g["bank"], g["weights"]): g["file"] for g in self.manifest["graphs"]}
        self.model: ModelProto = onnx.load(str(folder / graphs["one", "f32", "f32"]))
        graph = self.model.graph
        self.weights = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
        self.maker = {output: node for node in graph.node for output in node.output}

    def frozen(self) -> dict[str, np.ndarray]:
        """The weights of the convolutions that are slots, by the slot's name."""
        names = [slot["name"] for slot in self.manifest["slots"] if slot["kind"] == "conv"]
        return {name: self.weights[self.maker[f"facet/slot/{name}/z"].input[1]] for name in names}

    def merge(self, pack: Pack) -> bytes:
        """The dedicated network of a domain: pixels `uint8 [N, H, W, 3]` in, scores `[N, classes]` out, as ONNX."""
        return Merging(self, pack).onnx()


class Merging:
    """One domain's network in the making: new nodes by the value that each makes, and constants."""

    def __init__(self, family: Family, pack: Pack):
        self.family, self.pack = family, pack
        self.replaced: dict[str, list[NodeProto]] = {}
        self.constants: dict[str, np.ndarray] = {}

    def onnx(self) -> bytes:
        manifest, graph = self.family.manifest, self.family.model.graph
        self.normalisation()
        for slot in manifest["slots"]:
            getattr(self, slot["kind"])(slot["name"])
        nodes = [new for node in graph.node for new in self.replaced.get(node.output[0], [node])]
        nodes += self.head()
        size = manifest["input"]
        classes = len(self.pack.tensors["head.bias"])
        merged = helper.make_graph(
            needed(nodes, "scores", self.constants),
            "dedicated",
            [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", size["height"], size["width"], 3])],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", classes])],
        )
        values = {**self.family.weights, **self.constants}
        used = {name for node in merged.node for name in node.input}
        for name in values.keys() & used:
            merged.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values[name]), name))
        source = self.family.model
        model = helper.make_model(merged, opset_imports=source.opset_import, ir_version=source.ir_version)
        helper.set_model_props(model, {"labels": self.pack.metadata["labels"]})
        return model.SerializeToString()

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants[name] = value.astype(np.float32)
        return name

    def normalisation(self) -> None:
        """Pixels to the trunk's input: (x / 255 - mean) / std, as one product and one sum."""
        mean, std = (np.array(json.loads(self.pack.metadata[key]), np.float32) for key in ("mean", "std"))
        self.constant("facet/input/scale", (1 / (255 * std)).reshape(1, 3, 1, 1))
        self.constant("facet/input/shift", (-mean / std).reshape(1, 3, 1, 1))

    def conv(self, name: str) -> None:
        z = self.family.maker[f"facet/slot/{name}/z"]
        tensors = self.pack.tensors
        weight = self.family.weights[z.input[1]] * tensors[f"{name}.scale"][:, None, None, None]
        matrix = tensors.get(f"{name}.matrix")
        if matrix is not None:
            weight[:, :, weight.shape[2] // 2, weight.shape[3] // 2] += matrix
        output = self.output_of(f"facet/slot/{name}/scaled")
        merged = NodeProto()
        merged.CopyFrom(z)
        del merged.input[1:], merged.output[:]
        merged.input.append(self.constant(f"{name}.merged", weight))
        merged.input.append(self.constant(f"{name}.bias", tensors[f"{name}.bias"]))
        merged.output.append(output)
        self.replaced[output] = [merged]

    def norm(self, name: str) -> None:
        output = self.output_of(f"facet/slot/{name}/scaled")
        scaled = self.family.maker[f"facet/slot/{name}/scaled"]
        parts = [self.constant(f"{name}.{part}", self.pack.tensors[f"{name}.{part}"]) for part in ("scale", "bias")]
        channels = len(self.pack.tensors[f"{name}.scale"])
        # The variance and the operator's epsilon make 1.
        parts.append(self.constant(f"{name}.mean", np.zeros(channels)))
        parts.append(self.constant(f"{name}.variance", np.full(channels, 1 - 1e-5)))
        self.replaced[output] = [helper.make_node("BatchNormalization", [scaled.input[0], *parts], [output], name)]

    def output_of(self, scaled: str) -> str:
        """The slot's value: what the sums behind its scaled convolution end in."""
        (reader,) = [node for node in self.family.model.graph.node if scaled in node.input]
        if reader.op_type != "Add":
            raise ValueError(f"{scaled} is read by {reader.op_type}; the family's graph has another form than this merging knows")
        return reader.output[0]

    def head(self) -> list[NodeProto]:
        weight, bias = (self.constant(f"head.{part}", self.pack.tensors[f"head.{part}"]) for part in ("weight", "bias"))
        nodes = [helper.make_node("Gemm", ["features", weight, bias], ["logits"], "head", transB=1)]
        if self.pack.metadata["activation"] == "softmax":
            return [*nodes, helper.make_node("Softmax", ["logits"], ["scores"], "scores", axis=1)]
        return [*nodes, helper.make_node("Sigmoid", ["logits"], ["scores"], "scores")]


def needed(nodes: list[NodeProto], output: str, constants: dict[str, np.ndarray]) -> list[NodeProto]:
    """The nodes that the output depends on, in their order. Those that made what is a constant now are left out."""
    wanted, kept = {output}, []
    for node in reversed(nodes):
        if wanted & set(node.output):
            wanted |= set(node.input) - constants.keys()
            kept.append(node)
    return kept[::-1]
