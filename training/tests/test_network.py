"""Folding, freezing and packs: what is exported answers as what was trained."""
import itertools
import sys
import tempfile
import unittest
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))
import convert
import network as net
from merged import merged_conv
import pack

WIDTH = 0.125
torch.set_num_threads(1)


def trained_looking(design: str, classes: int = 5) -> net.ResNet26:
    """A network whose adapters and running statistics are far from their initial values."""
    network = net.ResNet26(classes, WIDTH, design, init="he")
    for m in network.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.uniform_(m.weight, 0.5, 1.5)
            nn.init.normal_(m.bias, std=0.3)
            m.running_mean.normal_(std=0.3)
            m.running_var.uniform_(0.5, 2)
        elif isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1):
            m.weight.data.mul_(0.3)
    return network.eval()


class Folding(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(5)

    def test_slot_formula_equals_the_module(self):
        for design in ("parallel", "series", "bn"):
            for stride in (1, 2):
                for side in (8, 9):
                    with self.subTest(design=design, stride=stride, side=side), torch.no_grad():
                        slot = net.Slot(4, 6, stride, design, 0.5, "he").eval()
                        slot.bn.running_mean.normal_()
                        slot.bn.running_var.uniform_(0.5, 2)
                        x = torch.randn(2, 4, side, side)
                        z, f = slot.conv(x), net.fold_slot(slot)
                        y = f["scale"].view(1, -1, 1, 1) * z + f["bias"].view(1, -1, 1, 1)
                        if "matrix" in f:
                            v = z if design == "series" else x[:, :, ::stride, ::stride]
                            y = y + torch.einsum("oc,nchw->nohw", f["matrix"], v)
                        torch.testing.assert_close(slot(x), y, rtol=1e-4, atol=1e-5)

    def test_pack_on_the_trunk_equals_the_network(self):
        trunk_network = trained_looking("bn")
        trunk = convert.trunk_tensors(trunk_network)
        x = torch.randn(3, 3, 64, 64)
        for design in ("feature", "bn", "series", "parallel"):
            network = trained_looking(design)
            with torch.no_grad():
                for ours, slot in network.slots().items():
                    slot.conv.weight.copy_(trunk[f"{ours}.weight"])
                if design == "feature":
                    network.load_trunk(trunk)
                with tempfile.TemporaryDirectory() as folder:
                    path = Path(folder) / "p.safetensors"
                    pack.write(path, net.fold(network), family="f" * 64, design=design, labels=list("abcde"), mean=[0, 0, 0],
                               std=[1, 1, 1], dtype=torch.float32)
                    tensors, metadata = pack.read(path)
                runner = pack.Runner(trunk, tensors, metadata["design"])
                with self.subTest(design=design):
                    torch.testing.assert_close(runner.logits(runner.features(x)), network(x), rtol=1e-3, atol=1e-3)

    def test_zero_initialised_adapters_start_at_the_trunk(self):
        trunk = convert.trunk_tensors(trained_looking("bn"))
        x, outputs = torch.randn(2, 3, 64, 64), []
        for design in ("feature", "bn", "series", "parallel", "finetune"):
            network = net.ResNet26(4, WIDTH, design, init="zero").eval()
            network.load_trunk(trunk)
            with torch.no_grad():
                outputs.append(network.features(x))
        for other in outputs[1:]:
            torch.testing.assert_close(other, outputs[0], rtol=1e-4, atol=1e-4)


class Merging(unittest.TestCase):
    def test_merged_convolution_has_the_two_branches_output_and_gradients(self):
        torch.manual_seed(2)
        for stride, side, frozen in itertools.product(((1, 1), (2, 2)), (8, 9), (True, False)):
            with self.subTest(stride=stride, side=side, frozen=frozen):
                x, w, a = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in ((2, 4, side, side), (6, 4, 3, 3), (6, 4, 1, 1)))
                w.requires_grad_(not frozen)
                merged = merged_conv(x, w, a, stride, (1, 1))
                plain = nn.functional.conv2d(x, w, stride=stride, padding=1) + nn.functional.conv2d(x, a, stride=stride)
                torch.testing.assert_close(merged, plain)
                weight, trained = torch.randn_like(plain), (x, a) if frozen else (x, w, a)
                for ours, theirs in zip(torch.autograd.grad((merged * weight).sum(), trained), torch.autograd.grad((plain * weight).sum(), trained)):
                    torch.testing.assert_close(ours, theirs)


class Freezing(unittest.TestCase):
    def test_a_step_moves_what_the_design_owns_and_nothing_else(self):
        moved_by = {"feature": {"head"}, "bn": {"bn", "head"}, "parallel": {"bn", "adapter", "head"},
                    "series": {"bn", "adapter", "adapter_bn", "head"}, "finetune": {"conv", "bn", "head"}}
        for design, expected in moved_by.items():
            torch.manual_seed(1)
            network = net.ResNet26(3, WIDTH, design, init="he").train()
            before = {k: v.clone() for k, v in network.state_dict().items()}
            loss = nn.functional.cross_entropy(network(torch.randn(4, 3, 32, 32)), torch.tensor([0, 1, 2, 0]))
            loss.backward()
            torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1).step()
            moved = {k.split(".")[-2] for k, v in network.state_dict().items() if not torch.equal(v, before[k])}
            self.assertEqual(moved, expected, design)

    def test_counts_are_the_papers_at_full_width(self):
        parallel = net.parameter_counts(net.ResNet26(10, 1.0, "parallel"))
        series = net.parameter_counts(net.ResNet26(10, 1.0, "series"))
        self.assertEqual((parallel["convolutions"], parallel["matrices"]), (5_806_944, 645_216))
        self.assertEqual(series["matrices"], 689_152)


class Packs(unittest.TestCase):
    def write(self, tensors, **changes):
        options = dict(family="f" * 64, design="parallel", labels=["a", "b"], mean=[0, 0, 0], std=[1, 1, 1], **changes)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "p.safetensors"
            try:
                pack.write(path, tensors, **options)
            finally:
                self.exists = path.exists()

    def test_refuses_what_fp16_or_the_format_cannot_hold(self):
        head = {"head.weight": torch.zeros(2, 3), "head.bias": torch.zeros(2)}
        for bad, message in (({"bn.scale": torch.tensor([7e4])}, "overflows fp16"),
                             ({"bn.scale": torch.tensor([float("nan")])}, "not finite"),
                             ({"head.weight": torch.zeros(3, 3)}, "2 labels for a head of 3")):
            with self.assertRaisesRegex(ValueError, message):
                self.write({**head, **bad})
            self.assertFalse(self.exists)

    def test_the_same_weights_are_the_same_bytes(self):
        head = {"head.weight": torch.arange(6.0).view(2, 3), "head.bias": torch.zeros(2)}
        options = dict(family="f" * 64, design="bn", labels=["ä", "b"], mean=[0, 0, 0], std=[1, 1, 1], name="n", license="l")
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / f"{i}.safetensors" for i in range(6)]
            for path in paths:
                pack.write(path, head, **options)
            self.assertEqual(len({path.read_bytes() for path in paths}), 1)
            tensors, metadata = pack.read(paths[0])
        self.assertTrue(torch.equal(tensors["head.weight"], head["head.weight"]))
        self.assertEqual((metadata["labels"], metadata["name"]), (["ä", "b"], "n"))

    def test_trunk_of_another_width_is_refused(self):
        with self.assertRaisesRegex(ValueError, "other shapes"):
            net.ResNet26(2, 0.25).load_trunk(convert.trunk_tensors(net.ResNet26(2, WIDTH)))


if __name__ == "__main__":
    unittest.main()
