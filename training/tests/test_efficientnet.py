"""EfficientNet-Lite0 as a module, as ONNX, and as the shipped family."""
import contextlib
import io
import sys
import tempfile
import unittest
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
import adapters
import checkpoint
import efficientnet
import graph

torch.set_num_threads(1)
FAMILY = Path(__file__).parents[2] / "models" / "efficientnet-lite0"


def random_network() -> efficientnet.EfficientNetLite0:
    torch.manual_seed(0)
    network = efficientnet.EfficientNetLite0().eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.2)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.2)
    return network


class EfficientNet(unittest.TestCase):
    def test_same_padding_is_tensorflows(self):
        # side, kernel, stride: zeros in front and behind (tf.nn.conv2d's documentation)
        for case, pads in (((128, 3, 2), (0, 1)), ((64, 5, 2), (1, 2)), ((7, 3, 2), (1, 1)), ((8, 3, 1), (1, 1)), ((8, 1, 1), (0, 0))):
            self.assertEqual(efficientnet.same_pads(*case), pads, case)

    def test_the_onnx_file_computes_what_the_module_computes_with_every_bn_unfolded(self):
        network, x = random_network(), torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "net.onnx"
            efficientnet.export_onnx(network, path, 64)
            model = graph.onnx.load(str(path))
            found = graph.Graph(path)({"image": x})
        with torch.no_grad():
            wanted = network(x)
        self.assertLess(float((found - wanted).abs().max() / wanted.abs().max()), 1e-5)
        operators = [node.op_type for node in model.graph.node]
        self.assertEqual([operators.count("Conv"), operators.count("BatchNormalization"), operators.count("Pad")], [49, 49, 0])
        self.assertFalse([n.name for n in model.graph.node if n.op_type == "Conv" and len(n.input) > 2])

    def test_a_checkpoint_of_another_network_is_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "other.pth"
            torch.save({"weight": torch.zeros(2)}, path)
            with self.assertRaisesRegex(ValueError, "does not hold EfficientNet-Lite0"):
                efficientnet.load(path)
            path.write_bytes(b"PK not a checkpoint")
            with self.assertRaises(checkpoint.CheckpointError):
                efficientnet.load(path)

    def test_low_rank_slots_of_the_family_follow_their_formula(self):
        family = adapters.Family(FAMILY)
        generator = torch.Generator().manual_seed(0)
        trunk = adapters.GraphTrunk(family, "cpu")
        # The same numbers, once with the factors at one slot, once with their product added to its frozen weights.
        slot = next(s for s in family.slots if s.get("rank"))
        name = slot["name"]
        up, down = 0.1 * torch.randn(slot["out"], slot["rank"], generator=generator), torch.randn(slot["rank"], slot["columns"], generator=generator)
        base = {f"{name}.{part}": family.base[f"{name}.{part}"] for part in ("scale", "bias")}
        x = torch.randn(1, 3, 128, 128, generator=generator)
        with torch.no_grad():
            found = trunk.features(x, {**base, f"{name}.up": up, f"{name}.down": down})
            weights = trunk.graph.constants[f"{name}.weight"]
            weights += (up @ down / base[f"{name}.scale"][:, None])[:, :, None, None]
            wanted = trunk.features(x, {})
        self.assertLess(float((found - wanted).abs().max() / wanted.abs().max()), 1e-4)

    def test_a_module_with_low_rank_slots_gives_what_the_familys_graph_gives(self):
        family = adapters.Family(FAMILY)
        trunk = adapters.GraphTrunk(family, "cpu")
        network = efficientnet.EfficientNetLite0()
        own = network.state_dict()
        with torch.no_grad():
            for slot in family.slots:
                name = slot["name"]
                head, _, layer = name.rpartition(".")
                norm = {"_conv_stem": "_bn0", "_conv_head": "_bn1", "_expand_conv": "_bn0", "_depthwise_conv": "_bn1", "_project_conv": "_bn2"}[layer]
                norm = f"{head}.{norm}" if head else norm
                own[f"{name}.weight"].copy_(trunk.graph.constants[f"{name}.weight"])
                own[f"{norm}.weight"].copy_(family.base[f"{name}.scale"] * (1 + efficientnet.BN_EPS) ** 0.5)
                own[f"{norm}.bias"].copy_(family.base[f"{name}.bias"])
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            weights, module = Path(folder) / "weights.pth", Path(folder) / "module.py"
            torch.save(own, weights)
            module.write_text(f"import sys\nsys.path.insert(0, {str(Path(__file__).parents[1])!r})\nimport efficientnet\n\n"
                              f"def trunk():\n    network = efficientnet.load({str(weights)!r})\n    network.forward = network.features\n    return network\n")
            adapter = adapters.Adapter(family, "full")
            generator = torch.Generator().manual_seed(0)
            with torch.no_grad():
                for parameter in adapter.parameters():
                    parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
                x, tensors = torch.randn(1, 3, 128, 128, generator=generator), adapter.tensors()
                found = adapters.ModuleTrunk(family, f"{module}:trunk", "cpu").features(x, tensors)
                wanted = trunk.features(x, tensors)
        self.assertLess(float((found - wanted).abs().max() / wanted.abs().max()), 1e-4)


if __name__ == "__main__":
    unittest.main()
