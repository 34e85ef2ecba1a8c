"""Conversion of the paper's public checkpoints, tested on randomly initialised networks of that structure."""
import argparse
import contextlib
import io
import json
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parents[1]))
import checkpoint
import convert
import network as net
import pack

FACTOR, CLASSES = 0.125, [7, 3]
torch.set_num_threads(1)


class PublicConv(nn.Module):
    """`conv_task` of the public code: a shared 3x3 convolution and each task's adapter and normalisation."""

    def __init__(self, cin, cout, stride, mode, tasks):
        super().__init__()
        self.mode = mode
        self.conv = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        if mode == "series":
            self.bns = nn.ModuleList(nn.Sequential(PublicSeries(cout), nn.BatchNorm2d(cout)) for _ in range(tasks))
        else:
            self.bns = nn.ModuleList(nn.BatchNorm2d(cout) for _ in range(tasks))
        if mode == "parallel":
            self.parallel_conv = nn.ModuleList(PublicParallel(cin, cout, stride) for _ in range(tasks))

    def forward(self, x, task):
        y = self.conv(x)
        if self.mode == "parallel":
            y = y + self.parallel_conv[task].conv(x)
        return self.bns[task](y)


class PublicParallel(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, 1, stride, bias=False)


class PublicSeries(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv = nn.Sequential(nn.BatchNorm2d(c), nn.Conv2d(c, c, 1, bias=False))

    def forward(self, x):
        return x + self.conv(x)


class PublicBlock(nn.Module):
    def __init__(self, cin, cout, stride, mode, tasks):
        super().__init__()
        self.conv1 = PublicConv(cin, cout, stride, mode, tasks)
        self.conv2 = nn.Sequential(nn.ReLU(), PublicConv(cout, cout, 1, mode, tasks))
        self.stride = stride

    def forward(self, x, task):
        y = self.conv2[1](F.relu(self.conv1(x, task)), task)
        if self.stride == 2:
            x = F.avg_pool2d(x, 2)
        if y.shape[1] > x.shape[1]:
            x = torch.cat([x, x * 0], 1)
        return F.relu(y + x)


class PublicNet(nn.Module):
    def __init__(self, mode):
        super().__init__()
        width, tasks = [int(c * FACTOR) for c in (32, 64, 128, 256)], len(CLASSES)
        self.pre_layers_conv = PublicConv(3, width[0], 1, mode, tasks)
        for s in (1, 2, 3):
            blocks = [PublicBlock(width[s - 1] if i == 0 else width[s], width[s], 2 if i == 0 else 1, mode, tasks) for i in range(4)]
            setattr(self, f"layer{s}", nn.Sequential(*blocks))
        self.end_bns = nn.ModuleList(nn.Sequential(nn.BatchNorm2d(width[3]), nn.ReLU()) for _ in CLASSES)
        self.linears = nn.ModuleList(nn.Linear(width[3], k) for k in CLASSES)
        for m in self.modules():
            if isinstance(m, nn.BatchNorm2d):
                nn.init.uniform_(m.weight, 0.5, 1.5)
                nn.init.normal_(m.bias, std=0.2)
                m.running_mean.normal_(std=0.2)
                m.running_var.uniform_(0.5, 2)

    def forward(self, x, task):
        x = self.pre_layers_conv(x, task)
        for layer in (self.layer1, self.layer2, self.layer3):
            for block in layer:
                x = block(x, task)
        return self.linears[task](self.end_bns[task](x).mean((2, 3)))


class Convert(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(3)

    def test_network_pack_and_public_network_agree(self):
        x = torch.randn(2, 3, 32, 32)
        for mode in ("parallel", "series", "bn"):
            public = PublicNet(mode).eval()
            state = public.state_dict()
            trunk = convert.trunk_tensors(convert.to_network(state, 0))
            for task in range(len(CLASSES)):
                with self.subTest(mode=mode, task=task), torch.no_grad():
                    expected = public(x, task)
                    network = convert.to_network(state, task)
                    self.assertEqual(network.design, mode)
                    torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-4)
                    runner = pack.Runner(trunk, net.fold(network), mode)
                    torch.testing.assert_close(runner.logits(runner.features(x)), expected, rtol=1e-3, atol=1e-3)

    def test_there_and_back(self):
        for mode in ("parallel", "series", "bn"):
            state = PublicNet(mode).state_dict()
            back = convert.to_public([convert.to_network(state, t) for t in range(len(CLASSES))])
            wanted = {k for k in state if not k.endswith("num_batches_tracked")}
            self.assertEqual(set(back), wanted)
            for k in wanted:
                self.assertTrue(torch.equal(back[k], state[k]), k)

    def test_convolution_without_adapter_gets_a_zero_matrix(self):
        state = PublicNet("parallel").state_dict()
        del state["layer1.0.conv1.parallel_conv.1.conv.weight"]
        folded = net.fold(convert.to_network(state, 1))
        self.assertEqual(float(folded["blocks.0.c1.conv.matrix"].abs().sum()), 0.0)

    def test_errors_name_the_tensor(self):
        state = PublicNet("parallel").state_dict()
        with self.assertRaisesRegex(ValueError, "task 2 of 2"):
            convert.to_network(state, 2)
        with self.assertRaisesRegex(ValueError, "missing tensor layer2.1.conv1.conv.weight"):
            convert.to_network({k: v for k, v in state.items() if k != "layer2.1.conv1.conv.weight"}, 0)
        with self.assertRaisesRegex(ValueError, "no place.*layer4.0.conv.weight"):
            convert.to_network({**state, "layer4.0.conv.weight": torch.zeros(1)}, 0)

    def test_reads_wrapped_state_and_refuses_pickled_modules(self):
        public = PublicNet("bn")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "c.pt"
            wrapped = {f"module.{k}": v for k, v in public.state_dict().items()}
            torch.save({"net": wrapped, "epoch": 3}, path)
            found = checkpoint.read_state(path)
            self.assertEqual(set(found), set(public.state_dict()))
            self.assertTrue(torch.equal(found["linears.0.weight"], public.state_dict()["linears.0.weight"]))
            torch.save(public, path)
            with self.assertRaisesRegex(ValueError, "not a plain state dict"):
                checkpoint.read_state(path)

    def test_reads_a_state_beside_metadata_and_runs_nothing_of_it(self):
        public = PublicNet("bn")
        optimizer = torch.optim.SGD(public.parameters(), lr=0.1, momentum=0.9)
        with tempfile.TemporaryDirectory() as folder:
            path, trace = Path(folder) / "c.pt", Path(folder) / "trace"
            torch.save({"state_dict": public.state_dict(), "optimizer": optimizer.state_dict(), "accuracy": np.float64(52.3), "best": np.arange(3),
                        "args": argparse.Namespace(lr=0.1, out=Path("x")), "trap": Trap(str(trace))}, path)
            self.assertEqual(set(checkpoint.read_state(path)), set(public.state_dict()))
            self.assertFalse(trace.exists())
            torch.load(str(path), **({} if torch.__version__.startswith("1.") else {"weights_only": False}))
            self.assertTrue(trace.exists())  # the trap works
            path.write_bytes(b"not a checkpoint")
            with self.assertRaisesRegex(ValueError, "no checkpoint"):
                checkpoint.read_state(path)

    def test_a_familys_trunk_and_its_onnx_file_are_written(self):
        import adapters
        import graph

        family = Path(__file__).parents[2] / "models" / "resnet26-half"
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            trunk, onnx = Path(folder) / "trunk.safetensors", Path(folder) / "net.onnx"
            convert.main([str(family), "--trunk-out", str(trunk), "--onnx-out", str(onnx)])
            network = net.ResNet26(200, 0.5, "bn").eval()
            network.load_trunk(load_file(str(trunk)))
            x = torch.randn(2, 3, 64, 64)
            with torch.no_grad():
                wanted = adapters.GraphTrunk(adapters.Family(family), "cpu").features(x, {})
                self.assertLess(float((network.features(x) - wanted).abs().max() / wanted.abs().max()), 1e-5)
                head = load_file(str(trunk))
                logits = wanted @ head["head.weight"].T + head["head.bias"]
                found = graph.Graph(onnx)({"image": x})
            self.assertLess(float((found - logits).abs().max() / logits.abs().max()), 1e-5)
            with self.assertRaisesRegex(SystemExit, "does not exist"):
                convert.main([folder, "--trunk-out", str(trunk)])

    def test_a_packs_numbers_are_of_the_type_asked_for(self):
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            path, out = Path(folder) / "c.pt", Path(folder) / "pack.safetensors"
            torch.save(PublicNet("parallel").state_dict(), path)
            (Path(folder) / "family.json").write_text('{"fingerprint": "0"}')
            for dtype, kind in (("fp16", torch.float16), ("fp32", torch.float32)):
                convert.main([str(path), "--pack-out", str(out), "--family", folder, "--dtype", dtype])
                self.assertEqual({v.dtype for v in load_file(str(out)).values()}, {kind})


    def test_packs_for_a_folded_export_have_relative_scales(self):
        for mode in ("parallel", "series", "bn"):
            with self.subTest(mode), tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
                public = PublicNet(mode)
                state = public.state_dict()
                backbone, network = (convert.to_network(state, task) for task in (0, 1))
                # The export: each normalisation multiplied into the convolution in front of it.
                trunk = convert.trunk_tensors(backbone)
                for name, slot in backbone.slots().items():
                    g, h = net.affine(slot.bn)
                    trunk[f"{name}.weight"] = (g.float()[:, None, None, None] * trunk[f"{name}.weight"])
                slots = [{"name": name, "relative": True} for name in backbone.slots()]
                path, out = Path(folder) / "c.pt", Path(folder) / "pack.safetensors"
                torch.save(state, path)
                (Path(folder) / "family.json").write_text(json.dumps({"fingerprint": "0", "slots": slots}))
                command = [str(path), "--task", "1", "--pack-out", str(out), "--family", folder, "--dtype", "fp32"]
                convert.main([*command, "--backbone", str(path)])
                x = torch.randn(2, 3, 64, 64)
                found = pack.Runner(trunk, pack.read(out)[0], mode).features(x)
                with torch.no_grad():
                    wanted = network.features(x)
                self.assertLess(float((found - wanted).abs().max() / wanted.abs().max()), 1e-4)
                with contextlib.redirect_stderr(io.StringIO()) as said, self.assertRaises(SystemExit):
                    convert.main(command)
                self.assertIn("--backbone", said.getvalue())


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


if __name__ == "__main__":
    unittest.main()
