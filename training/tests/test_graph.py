"""Operators of graph.py against ONNX's own reference implementation."""
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

sys.path.insert(0, str(Path(__file__).parents[1]))
import fuse
import graph

IMAGE = np.random.default_rng(0).standard_normal((2, 4, 9, 10)).astype(np.float32)
TOKENS = np.random.default_rng(1).standard_normal((2, 5, 8)).astype(np.float32)
floats = lambda *shape: np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)
ints = lambda *values: np.array(values, np.int64)

# operator, image or tokens, further inputs (constants), attributes
CASES = [
    ("Conv", IMAGE, [floats(6, 4, 3, 3), floats(6)], dict(kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1])),
    ("Conv", IMAGE, [floats(4, 1, 5, 5)], dict(kernel_shape=[5, 5], group=4, pads=[1, 2, 2, 1])),
    ("Conv", IMAGE[:, :, :8], [floats(6, 4, 3, 3)], dict(kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")),
    ("MaxPool", IMAGE, [], dict(kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])),
    ("MaxPool", IMAGE, [], dict(kernel_shape=[1, 1], strides=[2, 2])),
    ("AveragePool", IMAGE, [], dict(kernel_shape=[2, 2], strides=[2, 2])),
    ("GlobalAveragePool", IMAGE, [], {}),
    ("BatchNormalization", IMAGE, [floats(4), floats(4), floats(4), abs(floats(4)) + 0.1], dict(epsilon=1e-3)),
    ("LayerNormalization", TOKENS, [floats(8), floats(8)], dict(axis=-1)),
    ("Clip", IMAGE, [np.float32(0), np.float32(1)], {}),
    ("Clip", IMAGE, [np.float32(0)], {}),
    ("HardSigmoid", IMAGE, [], dict(alpha=1 / 6)),
    ("Softmax", TOKENS, [], dict(axis=-1)),
    ("MatMul", TOKENS, [floats(8, 3)], {}),
    ("Gather", TOKENS, [np.array(0, np.int64)], dict(axis=1)),
    ("Gather", TOKENS, [ints(2, -1)], dict(axis=1)),
    ("Slice", TOKENS, [ints(1), ints(2**31 - 1), ints(1)], {}),
    ("Slice", TOKENS, [ints(-1), ints(-(2**31)), ints(2), ints(-2)], {}),
    ("Pad", IMAGE, [ints(0, 0, 1, 0, 0, 0, 2, 1)], {}),
    ("Pad", IMAGE, [ints(0, 0, 1, 2, 0, 0, 2, 1)], dict(mode="reflect")),
    ("Pad", IMAGE, [ints(0, 0, 1, 2, 0, 0, 2, 1)], dict(mode="edge")),
    ("Reshape", TOKENS, [ints(0, -1)], {}),
    ("Transpose", TOKENS, [], dict(perm=[0, 2, 1])),
    ("Flatten", IMAGE, [], dict(axis=1)),
    ("Unsqueeze", TOKENS, [ints(0, -1)], {}),
    ("ReduceMean", IMAGE, [], dict(axes=[2, 3], keepdims=0)),
    ("ScatterND", TOKENS, [ints(1)[:, None], floats(1, 5, 8)], {}),
    ("Expand", TOKENS, [ints(3, 1, 5, 8)], {}),
    ("Where", IMAGE > 0, [IMAGE, np.float32(0)], {}),
    ("Pow", IMAGE, [np.float32(2)], {}),
]


class Operators(unittest.TestCase):
    def graph_of(self, op: str, first: np.ndarray, constants: list, attributes: dict) -> tuple[graph.Graph, onnx.ModelProto]:
        names = [f"c{i}" for i in range(len(constants))]
        kind = helper.np_dtype_to_tensor_dtype(first.dtype)
        model = helper.make_model(helper.make_graph(
            [helper.make_node(op, ["x", *names], ["y"], **attributes)], "one",
            [helper.make_tensor_value_info("x", kind, first.shape)], [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in zip(names, constants)]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "one.onnx"
            path.write_bytes(model.SerializeToString())
            return graph.Graph(path), model

    def test_operators_compute_what_onnx_defines(self):
        for op, first, constants, attributes in CASES:
            with self.subTest(op=op, attributes=attributes):
                ours, model = self.graph_of(op, first, constants, attributes)
                wanted = ReferenceEvaluator(model).run(None, {"x": first})[0]
                found = ours({"x": torch.from_numpy(first)})
                self.assertEqual(tuple(found.shape), wanted.shape)
                np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-4, atol=1e-5)

    def test_a_clip_has_a_gradient_in_bfloat16(self):
        ours, _ = self.graph_of("Clip", IMAGE, [np.float32(0), np.float32(1)], {})
        x = torch.tensor(IMAGE).bfloat16().requires_grad_()
        ours({"x": x}).float().sum().backward()
        inside = (x >= 0) & (x <= 1)
        self.assertTrue(inside.any() and not inside.all())
        self.assertTrue(torch.equal(x.grad.float(), inside.float()))

    def slot_graph(self, kernel: int, stride: int, factored: bool, fused: bool) -> graph.Graph:
        """A slot as families have it: a frozen convolution, its scale, and a matrix (or `up` on a basis) with the bias."""
        rng = np.random.default_rng(3)
        weight, basis = rng.standard_normal((6, 4, kernel, kernel)).astype(np.float32), rng.standard_normal((2, 4, 1, 1)).astype(np.float32)
        strides, ones = dict(strides=[stride, stride]), dict(kernel_shape=[1, 1])
        nodes = [helper.make_node("Conv", ["x", "weight"], ["z"], kernel_shape=[kernel, kernel], pads=[kernel // 2] * 4, **strides),
                 helper.make_node("Mul", ["z", "scale"], ["scaled"])]
        v = "x"
        if stride > 1:
            nodes.append(helper.make_node("MaxPool", ["x"], ["v"], **ones, **strides))
            v = "v"
        if factored:
            nodes.append(helper.make_node("Conv", [v, "basis"], ["on_basis"], **ones))
            v = "on_basis"
        matrix = "up.slot" if factored else "matrix.slot"
        nodes += [helper.make_node("Conv", [v, matrix, "bias"], ["adapted"], **ones), helper.make_node("Add", ["adapted", "scaled"], ["y"])]
        floats = lambda name, *shape: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        inputs = [floats("x", 2, 4, 9, 10), floats("scale", 6, 1, 1), floats("bias", 6), floats(matrix, 6, 2 if factored else 4, 1, 1)]
        model = helper.make_model(helper.make_graph(nodes, "slot", inputs, [floats("y", None, None, None, None)],
                                  [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(basis, "basis")]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        with tempfile.TemporaryDirectory() as folder, mock.patch.object(fuse, "fused", fuse.fused if fused else lambda nodes, *_: nodes):
            path = Path(folder) / "slot.onnx"
            path.write_bytes(model.SerializeToString())
            return graph.Graph(path)

    def gradients(self, own: graph.Graph, precision: torch.dtype) -> dict[str, torch.Tensor]:
        """The output, and gradients of all inputs, with one scale of 0 and two that are small."""
        generator = torch.Generator().manual_seed(5)
        feeds = {name: torch.randn([d or 1 for d in dims], generator=generator) for name, dims in own.inputs.items()}
        feeds["x"] = torch.randn(8, 4, 9, 10, generator=generator)
        feeds["scale"] = torch.tensor([1.0, -0.8, 0.0, 0.01, -1e-4, 0.5]).view(6, 1, 1)
        for value in feeds.values():
            value.requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == torch.bfloat16):
            y = own(feeds)
        weight = torch.randn(y.shape, generator=generator)
        (y.float() * weight).sum().backward()
        return {"y": y.detach().float(), **{name: value.grad for name, value in feeds.items()}}

    def test_a_fused_slot_has_the_answer_and_the_gradients_of_its_nodes(self):
        for kernel, stride, factored in ((3, 1, False), (3, 2, False), (3, 1, True), (5, 2, True), (1, 1, False), (1, 1, True), (1, 2, False)):
            for precision, apart in ((torch.float32, 1e-4), (torch.bfloat16, 3e-2)):
                with self.subTest(kernel=kernel, stride=stride, factored=factored, precision=precision):
                    fused = self.slot_graph(kernel, stride, factored, True)
                    self.assertEqual([node.op for node in fused.nodes], ["facet.Merged" if kernel == stride == 1 else "facet.Centred"])
                    found, wanted = self.gradients(fused, precision), self.gradients(self.slot_graph(kernel, stride, factored, False), torch.float32)
                    for name, value in wanted.items():
                        self.assertLess(float((found[name] - value).abs().max() / value.abs().max()), apart, name)

    def test_a_slot_that_others_read_is_left_as_it_is(self):
        own = self.slot_graph(3, 1, False, False)
        read_elsewhere = [*own.nodes, graph.Node("Relu", ["z"], ["other"], {})]
        ops = [node.op for node in fuse.fused(read_elsewhere, set(own.inputs), ["y", "other"])]
        self.assertNotIn("facet.Centred", ops)
        self.assertIn("Relu", ops)

    def test_an_unknown_operator_is_refused_by_name(self):
        with self.assertRaisesRegex(graph.GraphError, "NonMaxSuppression.*--module"):
            self.graph_of("NonMaxSuppression", TOKENS, [floats(1, 1, 5)], {})

    def test_sizes_that_do_not_fit_name_the_node(self):
        ours, _ = self.graph_of("MatMul", TOKENS, [floats(8, 3)], {})
        with self.assertRaisesRegex(graph.GraphError, "MatMul that makes y"):
            ours({"x": torch.zeros(2, 7)})


if __name__ == "__main__":
    unittest.main()
