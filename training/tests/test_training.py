"""The data contract, and that a run stopped at any step and resumed ends where an unbroken one does."""
import io
import json
import sys
import tempfile
import unittest
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
import data
import domains
import loop
import network as net

torch.set_num_threads(1)  # a spinning second thread ruins tiny networks on a busy machine


def png(width: int, height: int, seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def random_split(n: int, classes: int = 3) -> data.Split:
    rng = np.random.default_rng(0)
    return data.Split([rng.integers(0, 256, (72, 80, 3), dtype=np.uint8) for _ in range(n)], np.arange(n) % classes,
                      [f"{i % classes}/{i}" for i in range(n)])


class Data(unittest.TestCase):
    def test_shorter_side_is_72_and_the_crop_is_central(self):
        for (w, h), shape in (((144, 100), (72, 104, 3)), ((36, 45), (90, 72, 3)), ((72, 99), (99, 72, 3))):
            self.assertEqual(data.decode(png(w, h)).shape, shape)
        pixels = np.arange(72 * 75 * 3).reshape(72, 75, 3)
        self.assertTrue(np.array_equal(data.centre(pixels), pixels[4:68, 5:69]))

    def test_grey_palette_and_transparent_images_become_rgb(self):
        for mode in ("L", "P", "RGBA", "LA"):
            out = io.BytesIO()
            Image.new(mode, (80, 72)).save(out, "PNG")
            self.assertEqual(data.decode(out.getvalue()).shape, (72, 80, 3))

    def test_zip_and_folder_read_alike_with_human_labels(self):
        domain = domains.Domain("d", "d", "", "", "")
        with tempfile.TemporaryDirectory() as a, tempfile.TemporaryDirectory() as b:
            with zipfile.ZipFile(Path(a) / "d.zip", "w") as z:
                for split, folder, n in (("train", "x", 0), ("train", "y", 1), ("test", "y", 2)):
                    z.writestr(f"{split}/{folder}/{n}.png", png(72, 72, n))
            zipfile.ZipFile(Path(a) / "d.zip").extractall(Path(b) / "d")
            for directory in (a, b):
                (Path(directory) / "classes.json").write_text(json.dumps({"d": {"x": "tea", "y": "tea"}}))
                folders, labels = data.classes(directory, domain)
                self.assertEqual((folders, labels), (["x", "y"], ["tea (x)", "tea (y)"]))
                test = data.load(directory, domain, "test", folders)
                self.assertEqual((test.names, test.targets.tolist()), (["y/2.png"], [1]))
        with self.assertRaisesRegex(FileNotFoundError, "--data"):
            data.Archive("nowhere", "d")

    def test_images_in_another_layout_are_told_in_one_line(self):
        cases = {
            "cats/1.png": r"train/<class>/<image> and test/<class>/<image>.*at other places, such as cats/1.png$",
            "d/train/cats/1.png": "such as d/train/cats/1.png$",
            "test/cats/1.png": "such as test/cats/1.png$",
            "train/cats/1.bmp": "it holds no such image$",
        }
        for member, said in cases.items():
            with tempfile.TemporaryDirectory() as folder:
                with zipfile.ZipFile(Path(folder) / "d.zip", "w") as z:
                    z.writestr(member, png(72, 72))
                with self.assertRaisesRegex(SystemExit, said):
                    data.classes(folder, domains.Domain("d", "d", "", "", ""))

    def test_splits_keep_classes_and_do_not_overlap(self):
        split = random_split(30)
        rest, held = data.hold_out(split, 0.2, seed=0)
        self.assertEqual(sorted(rest.names + held.names), sorted(split.names))
        self.assertEqual(np.bincount(held.targets).tolist(), [2, 2, 2])
        self.assertEqual(np.bincount(data.few(split, 4, 1).targets).tolist(), [4, 4, 4])
        with self.assertRaisesRegex(ValueError, "fewer than 11"):
            data.few(split, 11, 1)

    def test_training_at_full_resolution_uses_the_pixels_as_they_are(self):
        split = random_split(1)
        x = data.train_batch(split, [0], [0, 0, 0], [1, 1, 1], "none", 64, np.random.default_rng(2))
        crop = (x[0].permute(1, 2, 0) * 255).round().byte().numpy()
        windows = (split.pixels[0][y:y + 64, z:z + 64] for y in range(9) for z in range(17))
        self.assertTrue(any(np.array_equal(crop, w) for w in windows))


class Rates(unittest.TestCase):
    def test_one_cycle_or_drops_to_a_tenth(self):
        cycle, drops = loop.Recipe(epochs=1), loop.Recipe(epochs=1, drops=(0.5, 0.75))
        self.assertEqual([round(cycle.scale(at), 6) for at in (0, 0.15, 1)], [0.1, 1, 0])
        for at, factor in ((0, 1), (0.49, 1), (0.5, 0.1), (0.8, 0.01)):
            self.assertAlmostEqual(drops.scale(at), factor)


class Resume(unittest.TestCase):
    def test_a_checkpoint_from_before_an_option_had_its_default(self):
        recipe = loop.Recipe(epochs=2)
        began = {k: v for k, v in recipe.figures().items() if k != "loss"} | {"subject": ""}
        loop.check_same({"recipe": began}, recipe, Path("run.pt"))
        with self.assertRaisesRegex(loop.OtherRun, "loss"):
            loop.check_same({"recipe": began}, loop.Recipe(epochs=2, loss="prototype"), Path("run.pt"))

    def test_heads_have_a_rate_of_their_own_wherever_they_are_and_matrices_alone_decay(self):
        network = torch.nn.ModuleDict({"head": torch.nn.Linear(2, 3), "domains": torch.nn.ModuleList([torch.nn.ModuleDict({"head": torch.nn.Linear(2, 3)})]),
                                       "header": torch.nn.Linear(2, 5)})
        groups = loop.parameter_groups(network, loop.Recipe(epochs=1, lr=0.1, head_lr=0.7, weight_decay=0.01))
        found = {(tuple(p.shape), group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
        self.assertEqual(found, {((3, 2), 0.7, 0.01), ((3,), 0.7, 0.0), ((5, 2), 0.1, 0.01), ((5,), 0.1, 0.0)})

    def test_stopped_and_resumed_equals_unbroken(self):
        split, recipe = random_split(10), loop.Recipe(epochs=2, batch=4, schedule=((32, 0.5), (64, 0.5)), precision="fp32")
        results = []
        with tempfile.TemporaryDirectory() as folder:
            for stops in ((), (1, 3)):
                torch.manual_seed(0)
                network = net.ResNet26(3, 0.125, "parallel", dropout=0.5, init="he")
                fit = lambda **stop: loop.fit(loop.Classification(network, split, [0.5] * 3, [0.2] * 3, "both", "cpu"), recipe,
                                              Path(folder) / f"{len(stops)}.pt", **stop)
                for stop in stops:
                    with self.assertRaises(loop.Stopped):
                        fit(stop_after=stop)
                    torch.manual_seed(99)
                    network = net.ResNet26(3, 0.125, "parallel", dropout=0.5, init="he")
                fit()
                results.append({k: v.clone() for k, v in network.state_dict().items()})
        for k, v in results[0].items():
            torch.testing.assert_close(results[1][k], v, rtol=0, atol=0, msg=k)


if __name__ == "__main__":
    unittest.main()
