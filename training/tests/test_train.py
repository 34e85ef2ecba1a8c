"""train.py from a folder of images to a pack: on the shipped family resnet26-half, with images drawn here."""
import contextlib
import io
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np
import torch
from PIL import Image

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
import adapters
import folder
import loop
import pack
import train
from test_commands import make_images

torch.set_num_threads(1)
FAMILY = Path(__file__).parents[2] / "models" / "resnet26-half"


def random_pack(family: adapters.Family) -> dict[str, torch.Tensor]:
    """A pack that differs from the base in every slot, with full matrices."""
    generator = torch.Generator().manual_seed(0)
    noise = lambda *shape: torch.randn(*shape, generator=generator)
    tensors = {}
    for slot in family.slots:
        name = slot["name"]
        tensors[f"{name}.scale"] = family.base[f"{name}.scale"] * (1 + 0.1 * noise(slot["out"]))
        tensors[f"{name}.bias"] = family.base[f"{name}.bias"] + 0.1 * noise(slot["out"])
        if slot["columns"]:
            tensors[f"{name}.matrix"] = 0.05 * noise(slot["out"], slot["columns"])
    return tensors


class Graphs(unittest.TestCase):
    def test_a_familys_graph_gives_what_the_packs_formula_gives(self):
        family = adapters.Family(FAMILY)
        trunk = {k: v for k, v in adapters.GraphTrunk(family, "cpu").graph.constants.items() if k.endswith("conv.weight")}
        tensors = random_pack(family)
        runner = pack.Runner.__new__(pack.Runner)  # the base's numbers come from base.safetensors, not from a trunk's file
        runner.trunk, runner.design, runner.slots, runner.blocks = trunk, "parallel", tensors, 12
        x = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            found = adapters.GraphTrunk(family, "cpu").features(x, tensors)
        wanted = runner.features(x)
        self.assertLess(float((found - wanted).abs().max() / wanted.abs().max()), 1e-5)

    def test_an_untrained_adapter_is_the_base(self):
        family = adapters.Family(FAMILY)
        trunk = adapters.GraphTrunk(family, "cpu")
        x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            self.assertTrue(torch.allclose(trunk.features(x, {}), trunk.features(x, adapters.Adapter(family, "full").tensors()), atol=1e-6))


class Folders(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)

    def read(self, **options):
        return folder.read(self.folder / "ucmerced", adapters.Family(FAMILY).frame, **options)

    def test_the_splits_of_a_folder_are_read(self):
        make_images(self.folder, "train", 4)
        make_images(self.folder, "test", 2)
        images = self.read()
        self.assertEqual([len(images.train), len(images.val), len(images.test)], [12, 0, 6])
        self.assertEqual(images.folders, ["forest", "runway", "tenniscourt"])

    def test_a_part_of_each_class_is_held_out_where_there_is_no_test(self):
        make_images(self.folder, "train", 5)
        (self.folder / "ucmerced" / "train").rename(self.folder / "flat")
        images = folder.read(self.folder / "flat", adapters.Family(FAMILY).frame)
        self.assertEqual([len(images.train), len(images.test)], [12, 3])
        self.assertFalse(set(images.train.names) & set(images.test.names))

    def assert_refused(self, said: str):
        with self.assertRaisesRegex(folder.FolderError, said):
            self.read()

    def test_what_cannot_be_trained_on_is_refused_by_name(self):
        make_images(self.folder, "train", 3)
        root = self.folder / "ucmerced"
        broken = root / "train" / "forest" / "broken.jpg"
        broken.write_bytes(b"\xff\xd8\xff no image")
        self.assert_refused("train/forest/broken.jpg")
        broken.unlink()
        stray = root / "stray.png"
        Image.new("RGB", (80, 80)).save(stray)
        self.assert_refused("stray.png does not lie as")
        stray.unlink()
        strange = root / "test" / "meadow"
        strange.mkdir(parents=True)
        Image.new("RGB", (80, 80)).save(strange / "0.png")
        self.assert_refused("'meadow'")

    def test_a_folder_with_one_class_is_refused(self):
        make_images(self.folder, "train", 3)
        for name in ("runway", "tenniscourt"):
            for path in (self.folder / "ucmerced" / "train" / name).iterdir():
                path.unlink()
        self.assert_refused("one class, 'forest'")


class Training(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        make_images(self.folder, "train", 10)
        make_images(self.folder, "test", 4)

    def train(self, out: str, *more: str) -> dict:
        with contextlib.redirect_stdout(io.StringIO()) as said:
            result = train.main([str(self.folder / "ucmerced"), "--family", str(FAMILY), "--out", str(self.folder / out), "--device", "cpu", *more])
        self.said = said.getvalue()
        return result

    def test_every_design_trains_a_pack_that_its_own_bytes_reproduce(self):
        for design, tensors in (("feature", 2), ("bn", 2 + 2 * 26), ("full", 2 + 2 * 26 + 25)):
            result = self.train(f"{design}.safetensors", "--design", design, "--epochs", "6", "--batch", "10", "--schedule", "32:0.5,64:0.5")
            self.assertGreater(result["accuracy"]["test"], 60, design)  # chance is 33
            self.assertLessEqual(result["accuracy"]["differ"], 1)
            found, metadata = pack.read(self.folder / f"{design}.safetensors")
            self.assertEqual(len(found), tensors)
            self.assertEqual(metadata["labels"], ["forest", "runway", "tenniscourt"])
            self.assertIn(f"curl --fail -X PUT --data-binary @{self.folder}/{design}.safetensors", self.said)
            self.assertTrue((self.folder / f"{design}.md").is_file())
            self.assertFalse((self.folder / f"{design}.state.pt").exists())

    def test_a_run_that_is_stopped_and_resumed_ends_with_the_same_bytes(self):
        how = ("--epochs", "2", "--batch", "10", "--schedule", "32:1")
        self.train("whole.safetensors", *how, "--name", "x")
        fit, loop.fit = loop.fit, lambda *a, **k: fit(*a, **k, stop_after=2)
        try:
            with self.assertRaises(SystemExit):
                self.train("parts.safetensors", *how, "--name", "x")
        finally:
            loop.fit = fit
        self.assertTrue((self.folder / "parts.state.pt").is_file())
        self.train("parts.safetensors", *how, "--name", "x")
        self.assertEqual((self.folder / "parts.safetensors").read_bytes(), (self.folder / "whole.safetensors").read_bytes())

    def test_a_module_trains_as_the_familys_graph_does(self):
        module = self.folder / "module.py"
        module.write_text(f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
import adapters, network, torch

def trunk():
    family = adapters.Family({str(FAMILY)!r})
    net = network.ResNet26(2, 0.5, "bn")
    weights = adapters.GraphTrunk(family, "cpu").graph.constants
    own = net.state_dict()
    for slot in family.slots:
        name = slot["name"]
        norm = name if slot["kind"] == "norm" else name[:-len("conv")] + "bn"
        if slot["kind"] != "norm":
            own[name + ".weight"].copy_(weights[name + ".weight"])
        own[norm + ".weight"].copy_(family.base[name + ".scale"] * (1 + network.BN_EPS) ** 0.5)
        own[norm + ".bias"].copy_(family.base[name + ".bias"])
    net.load_state_dict(own)
    net.forward = net.features
    return net
""")
        family = adapters.Family(FAMILY)
        x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
        tensors = random_pack(family)
        with torch.no_grad():
            wanted = adapters.GraphTrunk(family, "cpu").features(x, tensors)
            found = adapters.ModuleTrunk(family, f"{module}:trunk", "cpu").features(x, tensors)
        self.assertLess(float((found - wanted).abs().max() / wanted.abs().max()), 1e-5)

    def test_what_does_not_fit_the_family_is_refused(self):
        for options, said in ((("--rank", "4"), "--rank 4"), (("--out", "pack.bin"), "ends in .safetensors"), (("--module", "nothing"), "FILE.py:FUNCTION")):
            with self.assertRaisesRegex(SystemExit, said):
                self.train("x.safetensors", *options)
        self.assertFalse((self.folder / "x.safetensors").exists())


if __name__ == "__main__":
    unittest.main()
