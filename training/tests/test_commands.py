"""From a folder of images to a pack and its predictions, by the commands as a user gives them."""
import json
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[1]))
import adapt
import allocate
import convert
import evaluate
import export
import fewshot
import network as net

torch.set_num_threads(1)
DOMAIN, FOLDERS, TRAIN, TEST, WIDTH = "ucmerced", ("forest", "runway", "tenniscourt"), 10, 4, 0.125


def make_images(folder: Path, split: str, each: int) -> None:
    """Each class has a colour of its own under noise."""
    rng = np.random.default_rng(len(split))
    for c, name in enumerate(FOLDERS):
        for i in range(each):
            pixels = rng.integers(0, 120, (72, 76, 3))
            pixels[..., c] += 130
            path = folder / DOMAIN / split / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path)


class Commands(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        torch.manual_seed(0)
        save_file(convert.trunk_tensors(net.ResNet26(5, WIDTH, "scratch")), str(self.folder / "trunk.safetensors"))
        make_images(self.folder, "train", TRAIN)
        self.options = ["--domain", DOMAIN, "--data", str(self.folder), "--trunk", str(self.folder / "trunk.safetensors"), "--work",
                        str(self.folder / "work"), "--results", str(self.folder / "results"), "--device", "cpu", "--precision", "fp32",
                        "--schedule", "32:0.5,64:0.5"]

    def adapt(self, design: str, *more: str) -> dict:
        return adapt.main([*self.options, "--design", design, "--epochs", "8", "--batch", "8", *more])

    def test_a_run_its_pack_and_the_packs_predictions_agree(self):
        make_images(self.folder, "test", TEST)
        for design in net.ADAPTER_DESIGNS:
            result = self.adapt(design)
            self.assertGreater(result["accuracy"]["test"], 60, design)  # chance is 33
            family = self.folder / "models"
            family.mkdir(exist_ok=True)
            (family / "family.json").write_text(json.dumps({"name": "tiny", "fingerprint": "sha256:0", "slots": []}))
            packs = self.folder / design
            sys.argv = ["export.py", "--family", str(family), "--work", str(self.folder / "work"), "--results", str(self.folder / "results"),
                        "--out", str(packs), "--design", design, "--dtype", "fp32"]
            export.main()
            sys.argv = ["evaluate.py", "--data", str(self.folder), "--trunk", str(self.folder / "trunk.safetensors"), "--packs", str(packs),
                        "--out", str(packs / "predictions")]
            evaluate.main()
            seen = json.loads((packs / "predictions" / f"{DOMAIN}.json").read_text())
            self.assertEqual(round(100 * seen["correct"] / len(seen["images"]), 2), result["accuracy"]["test"], design)
            card = (packs / f"{DOMAIN}.md").read_text()
            for words in (f"{result['accuracy']['test']:.2f}%", result["date"], result["command"], "public domain imagery"):
                self.assertIn(words, card)
            self.assertNotIn(str(self.folder), card)

    def test_a_pack_has_matrices_where_its_run_had_them(self):
        make_images(self.folder, "test", 1)
        result = self.adapt("parallel", "--slots", "middle")
        network, saved = export.restore(self.folder / "work" / f"{DOMAIN}.parallel.final.pt")
        self.assertEqual([k[:-len(".matrix")] for k in net.fold(network) if k.endswith(".matrix")], result["matrices"])
        self.assertEqual((len(result["matrices"]), saved["result"]["slots"]), (8, "middle"))
        with self.assertRaises(SystemExit):
            self.adapt("bn", "--slots", "middle", "--name", "other")

    def test_a_list_of_slots_is_made_of_held_out_images_and_trained_with(self):
        out = self.folder / "lists"
        options = [o for o in self.options if o not in ("--precision", "fp32")]
        allocate.main([*options, "--epochs", "1", "--batch", "8", "--out", str(out)])
        measured = json.loads((self.folder / "results" / f"{DOMAIN}.json").read_text())
        self.assertEqual(sorted(name for name, _, _ in measured["order"]), sorted(net.SLOT_NAMES))
        result = self.adapt("parallel", "--val-share", "0.2", "--slots", str(out / f"{DOMAIN}.half.txt"), "--name", "listed")
        self.assertEqual(result["matrices"], measured["lists"]["half"])
        whole = sum(count for _, _, count in measured["order"])
        self.assertTrue(0 < result["parameters"]["matrices"] <= whole / 2)

    def test_a_rate_is_chosen_without_other_images_than_those_trained_on(self):
        make_images(self.folder, "test", 1)
        few = ("--shots", "4", "--steps", "4", "--optimizer", "adadelta", "--loss", "prototype", "--blend", "6", "--rates", "0.0001,1", "--name", "few")
        result = self.adapt("parallel", *few)
        self.assertEqual(list(result["rates"]), ["0.0001", "1"])
        scores = {float(rate): right for rate, (right, _) in result["rates"].items()}
        self.assertEqual(result["recipe"]["lr"], fewshot.largest_that_fits(scores, 12))
        self.assertEqual((result["blend"], result["images"]["train"]), (6.0, 12))
        self.assertFalse(list((self.folder / "work").glob("few*.pt")))

    def test_choosing_on_a_held_out_part_never_reads_test(self):
        result = self.adapt("parallel", "--val-share", "0.2", "--name", "held")  # there is no test split here
        self.assertEqual(result["images"], {"train": 24, "val": 6})
        self.assertEqual(list(result["accuracy"]), ["val"])

    def test_few_examples_are_drawn_by_the_seed(self):
        make_images(self.folder, "test", 1)
        runs = [self.adapt("bn", "--shots", "2", "--steps", "3", "--seed", seed, "--name", name) for seed, name in (("0", "a"), ("0", "b"), ("1", "c"))]
        self.assertEqual([r["images"]["train"] for r in runs], [6, 6, 6])
        self.assertEqual(runs[0]["mean"], runs[1]["mean"])
        self.assertNotEqual(runs[0]["mean"], runs[2]["mean"])

    def test_a_finished_run_is_not_run_again(self):
        make_images(self.folder, "test", 1)
        first = self.adapt("feature")
        trained = (self.folder / "work" / f"{DOMAIN}.feature.final.pt").stat().st_mtime_ns
        self.assertEqual(self.adapt("feature"), json.loads(json.dumps(first)))
        self.assertEqual((self.folder / "work" / f"{DOMAIN}.feature.final.pt").stat().st_mtime_ns, trained)


if __name__ == "__main__":
    unittest.main()
