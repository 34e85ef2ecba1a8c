"""Operators of graph.py against ONNX's own reference implementation."""
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

sys.path.insert(0, str(Path(__file__).parents[1]))
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

    def test_an_unknown_operator_is_refused_by_name(self):
        with self.assertRaisesRegex(graph.GraphError, "NonMaxSuppression.*--module"):
            self.graph_of("NonMaxSuppression", TOKENS, [floats(1, 1, 5)], {})

    def test_sizes_that_do_not_fit_name_the_node(self):
        ours, _ = self.graph_of("MatMul", TOKENS, [floats(8, 3)], {})
        with self.assertRaisesRegex(graph.GraphError, "MatMul that makes y"):
            ours({"x": torch.zeros(2, 7)})


if __name__ == "__main__":
    unittest.main()
