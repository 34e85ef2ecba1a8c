"""train.py from a folder of images to a pack: on the shipped family resnet26-half, with images drawn here."""
import contextlib
import io
import shutil
import sys
import tempfile
import unittest
import zipfile
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from PIL import Image

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
import adapters
import folder
import fuse
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

    def test_what_is_fused_has_the_gradients_of_the_graph(self):
        family, tensors = adapters.Family(FAMILY), random_pack(adapters.Family(FAMILY))
        slots = [slot["name"] for slot in family.slots]
        tensors[f"{slots[4]}.scale"][3] = 0  # nothing can be divided by it
        x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
        found = {}
        for how, fused in (("fused", fuse.fused), ("plain", lambda nodes, inputs, outputs: nodes)):
            with mock.patch.object(fuse, "fused", fused):
                trunk = adapters.GraphTrunk(family, "cpu")
            own = {name: value.clone().requires_grad_() for name, value in tensors.items()}
            trunk.features(x, own).pow(2).sum().backward()
            found[how] = {name: value.grad for name, value in own.items()}, [node.op for node in trunk.graph.nodes]
        self.assertEqual(found["fused"][1].count("facet.Centred"), sum(1 for slot in family.slots if slot["columns"]))
        for name, grad in found["plain"][0].items():
            self.assertLess(float((found["fused"][0][name] - grad).abs().max() / grad.abs().max()), 1e-4, name)

    def test_an_untrained_adapter_is_the_base(self):
        family = adapters.Family(FAMILY)
        trunk = adapters.GraphTrunk(family, "cpu")
        x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            self.assertTrue(torch.allclose(trunk.features(x, {}), trunk.features(x, adapters.Adapter(family, "full").tensors()), atol=1e-6))

    def test_a_slot_without_a_matrix_trains_scale_and_bias(self):
        family = adapters.Family(FAMILY)
        for slot in family.slots:
            slot["columns"] *= slot["name"].startswith("blocks.8.")
        tensors = adapters.Adapter(family, "full").tensors()
        self.assertEqual([k for k in tensors if k.endswith(".matrix")], ["blocks.8.c1.conv.matrix", "blocks.8.c2.conv.matrix"])
        self.assertTrue(all(f"{slot['name']}.{part}" in tensors for slot in family.slots for part in ("scale", "bias")))


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
            shutil.rmtree(self.folder / "ucmerced" / "train" / name)
        self.assert_refused("one class, 'forest'")

    def test_a_class_folder_without_images_is_refused(self):
        make_images(self.folder, "train", 3)
        empty = self.folder / "ucmerced" / "train" / "meadow"
        empty.mkdir()
        self.assert_refused("train/meadow holds no image")
        Image.new("RGB", (80, 80)).save(empty / "0.bmp")
        self.assert_refused("train/meadow/0.bmp is none")
        for name in ("0.png", "1.png"):
            Image.new("RGB", (80, 80)).save(empty / name)
        images = self.read()
        self.assertEqual(images.others, ["train/meadow/0.bmp"])

    def test_files_that_systems_hide_are_no_images(self):
        make_images(self.folder, "train", 2)
        root = self.folder / "ucmerced"
        for hidden in ("__MACOSX/train/forest/._0.png", "train/forest/._0.png", "train/.DS_Store"):
            (root / hidden).parent.mkdir(parents=True, exist_ok=True)
            (root / hidden).write_bytes(b"nothing")
        self.assertEqual([len(self.read().train), self.read().others], [3, []])

    def test_a_class_that_keeps_no_image_for_training_is_refused(self):
        make_images(self.folder, "train", 3)
        with self.assertRaisesRegex(folder.FolderError, "'forest' has a single image to train on"):
            self.read(limit=1)
        self.assertEqual([len(self.read(test_share=0.99).train), len(self.read(limit=2, test_share=0.99).train)], [3, 3])

    def test_a_damaged_zip_names_the_image(self):
        make_images(self.folder, "train", 2)
        root, packed = self.folder / "ucmerced", self.folder / "images.zip"
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
            for path in sorted(root.rglob("*.png")):
                archive.write(path, path.relative_to(root).as_posix())
        content = bytearray(packed.read_bytes())
        at = content.find(b"IDAT")
        content[at:at + 4] = b"DAMA"
        packed.write_bytes(bytes(content))
        with self.assertRaisesRegex(folder.FolderError, "train/forest/0.png: "):
            folder.read(packed, adapters.Family(FAMILY).frame)


class Training(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        make_images(self.folder, "train", 10)
        make_images(self.folder, "test", 4)
        quick = mock.patch.object(train, "HEAD_STEPS", 200)
        quick.start()
        self.addCleanup(quick.stop)

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
        module = self.module()
        family = adapters.Family(FAMILY)
        x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
        tensors = random_pack(family)
        with torch.no_grad():
            wanted = adapters.GraphTrunk(family, "cpu").features(x, tensors)
            found = adapters.ModuleTrunk(family, f"{module}:trunk", "cpu").features(x, tensors)
        self.assertLess(float((found - wanted).abs().max() / wanted.abs().max()), 1e-5)

    def module(self, change: str = "") -> Path:
        """A file whose `trunk()` makes the family's network. `change`: a line that does something to its state dict `own`."""
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
    {change}
    net.load_state_dict(own)
    net.forward = net.features
    return net
""")
        return module

    def test_a_module_with_other_weights_is_refused(self):
        module = self.module('own["blocks.3.c1.conv.weight"] *= 1.1')
        with self.assertRaisesRegex(SystemExit, "does not compute what the family's graph does: features differ by"):
            self.train("x.safetensors", "--module", f"{module}:trunk")

    def test_a_module_trains_where_the_familys_graph_cannot_be_run(self):
        module = self.module()
        graph = mock.Mock(side_effect=adapters.graphs.GraphError("operators that training does not know: Gru"))
        with mock.patch.object(adapters, "GraphTrunk", graph), self.assertRaisesRegex(SystemExit, "Gru"):
            self.train("x.safetensors")
        real, calls = adapters.GraphTrunk, []

        def second_fails(*args):
            calls.append(args)
            if len(calls) > 1:  # the first is the module's own
                raise adapters.graphs.GraphError("operators that training does not know: Gru")
            return real(*args)

        with mock.patch.object(adapters, "GraphTrunk", second_fails):
            result = self.train("x.safetensors", "--module", f"{module}:trunk", "--design", "feature")
        self.assertEqual(result["measured"], "the module")
        self.assertIn("Gru", self.said)
        self.assertGreater(result["accuracy"]["test"], 60)

    def test_slots_whose_channels_are_last_are_trained_through_a_module(self):
        module = self.folder / "tokens.py"
        module.write_text("""
import torch

def trunk():
    torch.manual_seed(3)
    return torch.nn.Sequential(torch.nn.Flatten(2), torch.nn.LayerNorm(4), torch.nn.Linear(4, 5), torch.nn.Flatten())
""")
        noise = lambda *shape: torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))
        torch.manual_seed(3)
        linear = torch.nn.Linear(4, 5)
        family = adapters.Family.__new__(adapters.Family)
        slot = {"stride": [1, 1]}
        family.slots = [{"name": "1", "kind": "norm", "out": 4, "columns": 0, **slot}, {"name": "2", "kind": "linear", "out": 5, "columns": 4, "rank": 2, **slot}]
        family.base = {"1.scale": torch.ones(4), "1.bias": torch.zeros(4), "2.scale": torch.ones(5), "2.bias": linear.bias}
        family.manifest = {"design": "parallel"}
        tensors = {"1.scale": noise(4), "1.bias": noise(4, 1)[:, 0], "2.scale": noise(5), "2.bias": noise(5, 1)[:, 0], "2.up": noise(5, 2), "2.down": noise(2, 4)}
        x = noise(2, 3, 2, 2)
        with torch.no_grad():
            found = adapters.ModuleTrunk(family, f"{module}:trunk", "cpu").features(x, tensors)
            tokens = torch.nn.functional.layer_norm(x.flatten(2), (4,)) * tensors["1.scale"] + tensors["1.bias"]
            wanted = tensors["2.scale"] * (tokens @ linear.weight.T) + tokens @ tensors["2.down"].T @ tensors["2.up"].T + tensors["2.bias"]
        self.assertLess(float((found - wanted.flatten(1)).abs().max()), 1e-5)

    def test_a_run_that_began_differently_is_not_resumed(self):
        how = ("--epochs", "2", "--batch", "10", "--schedule", "32:1")
        fit, loop.fit = loop.fit, lambda *a, **k: fit(*a, **k, stop_after=1)
        try:
            with self.assertRaisesRegex(SystemExit, "stopped at step 1"):
                self.train("x.safetensors", *how)
        finally:
            loop.fit = fit
        with self.assertRaisesRegex(SystemExit, r"x\.state\.pt is of a run that .* \(epochs\)"):
            self.train("x.safetensors", "--epochs", "3", *how[2:])
        with self.assertRaisesRegex(SystemExit, r"\(what it is of: images, labels, family, packs or how they teach\)"):
            self.train("x.safetensors", *how, "--flips", "both")
        self.assertFalse((self.folder / "x.safetensors").exists())

    def test_a_head_on_frozen_features_takes_images_of_val_that_are_called_as_those_of_train(self):
        make_images(self.folder, "val", 5)
        result = self.train("x.safetensors", "--design", "feature", "--with-val", "--flips", "horizontal")
        self.assertEqual(result["images"], {"train": 45, "val": 0, "test": 12})

    def test_labels_of_any_language_and_a_name_that_is_no_domain_id(self):
        labels = self.folder / "labels.json"
        labels.write_text('{"forest": "Wälder", "runway": "跑道"}', encoding="utf-8")
        self.train("Größe 1.safetensors", "--design", "feature", "--labels", str(labels))
        found, metadata = pack.read(self.folder / "Größe 1.safetensors")
        self.assertEqual(metadata["labels"], ["Wälder", "跑道", "tenniscourt"])
        self.assertIn("/v1/domains/groe-1", self.said)
        self.assertIn("跑道", (self.folder / "Größe 1.md").read_text(encoding="utf-8"))

    def test_labels_that_no_pack_can_have_are_refused_before_training(self):
        labels = self.folder / "labels.json"
        for text, said in (("{", "cannot be read"), ("[]", "no JSON object"), ('{"meadow": "x"}', "'meadow' is no class folder"),
                           ('{"forest": " "}', "'forest' has the label ' '"), ('{"forest": "runway"}', "two classes have the label 'runway'")):
            labels.write_text(text)
            with self.assertRaisesRegex(SystemExit, said):
                self.train("x.safetensors", "--labels", str(labels))

    def test_a_place_that_cannot_be_written_to_is_told_before_images_are_read(self):
        (self.folder / "file").write_text("")
        with self.assertRaisesRegex(SystemExit, "file cannot be written to: Not a directory"):
            self.train("file/x.safetensors")

    def test_what_does_not_fit_the_family_is_refused(self):
        for options, said in ((("--rank", "4"), "--rank 4"), (("--out", "pack.bin"), "ends in .safetensors"), (("--module", "nothing"), "FILE.py:FUNCTION")):
            with self.assertRaisesRegex(SystemExit, said):
                self.train("x.safetensors", *options)
        self.assertFalse((self.folder / "x.safetensors").exists())


if __name__ == "__main__":
    unittest.main()
