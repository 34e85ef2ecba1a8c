"""universal.py: one trunk that several domains train, on the shipped family resnet26-half with images drawn here."""
import contextlib
import io
import json
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
import adapters
import export
import loop
import pack
import universal
from test_commands import make_images
from test_train import FAMILY, random_pack

torch.set_num_threads(1)


def make_source(folder: Path, classes: int) -> None:
    """Images of the trunk's own classes, two of each for train and one for val."""
    rng = np.random.default_rng(0)
    for c in range(classes):
        for split, names in (("train", "ab"), ("val", "c")):
            for name in names:
                path = folder / "tiny_imagenet_a" / split / f"n{c:03}" / f"{name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 256, (72, 72, 3), dtype=np.uint8)).save(path)


class Unfolding(unittest.TestCase):
    def test_a_packs_network_with_statistics_computes_what_the_pack_does(self):
        family = adapters.Family(FAMILY)
        trunk = adapters.GraphTrunk(family, "cpu")
        x = torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(1))
        zero = random_pack(family)
        zero["blocks.3.c2.conv.scale"][2] = 0
        head = {"head.weight": torch.randn(5, family.features, generator=torch.Generator().manual_seed(2)), "head.bias": torch.ones(5)}
        for tensors in ({**random_pack(family), **head}, {**zero, **head}, {**{k: v for k, v in family.base.items() if not k.startswith("head")}, **head}):
            network = universal.unfolded(tensors, trunk.graph.constants, x)
            with torch.no_grad():
                wanted = adapters.Served(trunk, tensors)(x)
                self.assertLess(float((network(x) - wanted).abs().max() / wanted.abs().max()), 1e-4)
                trained = network.train()(x)  # statistics of the batch, which are those of these images
            self.assertLess(float((trained - wanted).abs().max() / wanted.abs().max()), 1e-2)


class Universal(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        make_images(self.folder, "train", 10)
        make_images(self.folder, "test", 4)
        family = adapters.Family(FAMILY)
        tensors = {**random_pack(family), "head.weight": 0.01 * torch.ones(3, family.features), "head.bias": torch.zeros(3)}
        pack.write(self.folder / "packs" / "ucmerced.safetensors", tensors, family=family.fingerprint, design="parallel", labels=["a", "b", "c"],
                   mean=family.mean, std=family.std)

    def universal(self, out: str, *more: str) -> dict:
        with contextlib.redirect_stdout(io.StringIO()):
            return universal.main(["--family", str(FAMILY), "--packs", str(self.folder / "packs"), "--data", str(self.folder), "--out", str(self.folder / out),
                                   "--device", "cpu", "--precision", "fp32", "--batch", "10", *more])

    def test_trunk_and_networks_learn_together_and_become_packs(self):
        make_source(self.folder, 200)
        result = self.universal("whole", "--steps", "4")
        out = self.folder / "whole"
        trunk = load_file(str(out / "trunk.safetensors"))
        before = adapters.GraphTrunk(adapters.Family(FAMILY), "cpu").graph.constants
        for name in ("stem.conv.weight", "blocks.11.c2.conv.weight"):
            self.assertGreater(float((trunk[name] - before[name]).abs().max()), 1e-4, name)
        network, saved = export.restore(out / "ucmerced.parallel.final.pt")
        self.assertTrue(torch.equal(network.stem.conv.weight, trunk["stem.conv.weight"]), "the domain's network stands on the trunk")
        self.assertEqual(saved["result"]["accuracy"]["test"], result["accuracy"]["ucmerced"]["trained"])
        self.assertTrue((out / "trunk.onnx").is_file())
        self.assertEqual(json.loads((out / "universal.json").read_text())["mean"], result["mean"])
        self.assertEqual(sorted(result["accuracy"]), ["base", "ucmerced"])

        fit = loop.fit
        with mock.patch.object(loop, "fit", lambda *a, **k: fit(*a, **k, stop_after=3)), self.assertRaisesRegex(SystemExit, "the same command resumes"):
            self.universal("parts", "--steps", "4")
        self.universal("parts", "--steps", "4")
        self.assertEqual((self.folder / "parts" / "trunk.safetensors").read_bytes(), (out / "trunk.safetensors").read_bytes())

    def test_other_images_than_the_trunks_own_are_refused(self):
        make_source(self.folder, 3)
        with self.assertRaisesRegex(SystemExit, "has 3 class folders, and the pack base has 200 labels"):
            self.universal("out")
        with self.assertRaisesRegex(SystemExit, "holds no pack of a domain"):
            self.universal("out", "--packs", str(self.folder))


if __name__ == "__main__":
    unittest.main()
