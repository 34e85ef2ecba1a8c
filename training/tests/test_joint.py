"""joint.py: domains that learn through bases that they share, on the shipped family resnet26-half with bases and packs drawn here."""
import contextlib
import io
import json
import shutil
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import torch
from safetensors.torch import save_file

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
import adapters
import joint
import loop
import pack
import teaching
from test_commands import make_images

torch.set_num_threads(1)
FAMILY = Path(__file__).parents[2] / "models" / "resnet26-half"
RANK, DOMAINS = 4, ("ucmerced", "other")


def compressed_family(folder: Path, family: adapters.Family) -> None:
    """The folder of a family as `facet compress` writes it, of random bases with as many rows as RANK. Its graphs are not needed here."""
    generator = torch.Generator().manual_seed(0)
    bases = {}
    for slot in (slot for slot in family.slots if slot["columns"]):
        slot["basis"] = min(RANK, slot["columns"])
        bases[f"{slot['name']}.basis"] = torch.linalg.qr(torch.randn(slot["columns"], slot["basis"], generator=generator)).Q.T.contiguous()
    folder.mkdir(parents=True)
    manifest = {**family.manifest, "name": "shared", "fingerprint": "shared", "slots": family.slots, "compressed": {"fingerprint": family.fingerprint}}
    (folder / "family.json").write_text(json.dumps(manifest))
    save_file(bases, str(folder / "bases.safetensors"))
    shutil.copy(FAMILY / "base.safetensors", folder)


def write_pack(path: Path, family: adapters.Family, classes: int) -> None:
    """A pack that is the base but for small matrices (or `up`), with a head that knows nothing yet."""
    generator = torch.Generator().manual_seed(len(path.stem))
    tensors = dict(family.base)
    for slot in (slot for slot in family.slots if slot["columns"]):
        part, columns = ("up", slot["basis"]) if slot.get("basis") else ("matrix", slot["columns"])
        tensors[f"{slot['name']}.{part}"] = 0.01 * torch.randn(slot["out"], columns, generator=generator)
    tensors.update({"head.weight": 0.01 * torch.randn(classes, family.features, generator=generator), "head.bias": torch.zeros(classes)})
    pack.write(path, tensors, family=family.fingerprint, design="parallel", labels=[str(c) for c in range(classes)], mean=family.mean, std=family.std)


class Joint(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        make_images(self.folder, "train", 12)
        make_images(self.folder, "test", 4)
        shutil.copytree(self.folder / "ucmerced", self.folder / "other")
        family = adapters.Family(FAMILY)
        for domain in DOMAINS:
            write_pack(self.folder / "packs" / f"{domain}.safetensors", family, 3)
        compressed_family(self.folder / "models" / "shared", family)
        for domain in DOMAINS:
            write_pack(self.folder / "adapters" / "shared" / f"{domain}.safetensors", adapters.Family(self.folder / "models" / "shared"), 3)

    def joint(self, out: str, *more: str) -> dict:
        with contextlib.redirect_stdout(io.StringIO()):
            return joint.main(["--family", str(FAMILY), "--compressed", str(self.folder / "models" / "shared"), "--packs", str(self.folder / "packs"),
                               "--data", str(self.folder), "--out", str(self.folder / out), "--device", "cpu", "--batch", "9", "--distil", "0.1",
                               "--lr", "5e-3", "--head-lr", "2e-2", *more])

    def matrices(self, out: str, slot: str) -> torch.Tensor:
        return torch.cat([pack.read(self.folder / out / f"{domain}.safetensors")[0][f"{slot}.matrix"] for domain in DOMAINS])

    def test_packs_learn_and_their_matrices_share_the_directions_of_a_basis(self):
        result = self.joint("out", "--steps", "25")
        for domain in DOMAINS:
            score = result["accuracy"][domain]
            self.assertGreater(score["trained"], max(60, score["start"]), domain)  # chance is 33
        start = adapters.Family(self.folder / "models" / "shared").bases
        for slot in ("blocks.2.c1.conv", "blocks.11.c2.conv"):
            stacked = self.matrices("out", slot).double()
            energy = torch.linalg.svdvals(stacked).pow(2)
            self.assertLess(float(energy[RANK:].sum() / energy.sum()), 1e-10, slot)
            basis = start[f"{slot}.basis"].double()
            self.assertGreater(float((stacked - stacked @ basis.T @ basis).norm() / stacked.norm()), 1e-3, "the basis has not learnt")
        self.assertEqual(json.loads((self.folder / "out" / "joint.json").read_text())["mean"], result["mean"])
        self.assertNotIn(str(self.folder), result["command"])

    def test_frozen_bases_stay_as_they_are(self):
        self.joint("out", "--steps", "3", "--frozen")
        basis = adapters.Family(self.folder / "models" / "shared").bases["blocks.2.c1.conv.basis"]
        stacked = self.matrices("out", "blocks.2.c1.conv")
        self.assertLess(float((stacked - stacked @ basis.T @ basis).norm() / stacked.norm()), 1e-5)

    def test_a_stopped_run_ends_where_an_unbroken_one_does(self):
        how = ("--steps", "4", "--precision", "fp32")
        self.joint("whole", *how)
        fit = loop.fit
        with mock.patch.object(loop, "fit", lambda *a, **k: fit(*a, **k, stop_after=2)), self.assertRaisesRegex(SystemExit, "the same command resumes"):
            self.joint("parts", *how)
        with self.assertRaisesRegex(SystemExit, "began differently"):
            self.joint("parts", *how, "--temperature", "3")
        self.joint("parts", *how)
        for domain in DOMAINS:
            whole, parts = ((self.folder / out / f"{domain}.safetensors").read_bytes() for out in ("whole", "parts"))
            self.assertEqual(whole, parts)

    def test_what_does_not_fit_is_refused_before_any_training(self):
        with self.assertRaisesRegex(SystemExit, "was not made of resnet26-half"):
            self.joint("out", "--compressed", str(FAMILY))
        with self.assertRaisesRegex(SystemExit, "no folder third"):
            self.joint("out", "--only", "third")
        for option, value, said in (("--distil", "2", "a share"), ("--steps", "0", "from 1 on"), ("--temperature", "0", "above 0")):
            with self.assertRaisesRegex(SystemExit, f"{option} .*{said}"):
                self.joint("out", option, value)
        own = self.folder / "packs" / "other.safetensors"
        kept = own.read_bytes()
        tensors, metadata = pack.read(own)
        rewrite = lambda labels: pack.write(own, tensors, family=metadata["family"], design="parallel", labels=labels, mean=metadata["mean"], std=metadata["std"])
        rewrite(["tenniscourt", "forest", "runway"])
        with self.assertRaisesRegex(SystemExit, "'forest' stands where the pack other has the label 'tenniscourt'"):
            self.joint("out")
        rewrite(["a", "b", "c"])
        with self.assertRaisesRegex(SystemExit, "has other labels than the pack other"):
            self.joint("out")
        own.write_bytes(kept)
        (self.folder / "other" / "test").rename(self.folder / "aside")
        with self.assertRaisesRegex(SystemExit, "has no test split"):
            self.joint("out")
        (self.folder / "aside").rename(self.folder / "other" / "test")
        shutil.rmtree(self.folder / "other" / "train" / "forest")
        shutil.rmtree(self.folder / "other" / "test" / "forest")
        with self.assertRaisesRegex(SystemExit, "2 class folders, and the pack other has 3 labels"):
            self.joint("out")
        shutil.rmtree(self.folder / "adapters")
        with self.assertRaisesRegex(SystemExit, "has no packs.*--start"):
            self.joint("out")
        self.assertFalse((self.folder / "out").exists())


class Distance(unittest.TestCase):
    def test_equal_answers_are_no_distance_apart_and_others_are(self):
        logits = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
        self.assertAlmostEqual(float(teaching.distance(logits, logits + 3, 2.0)), 0, places=6)  # a shift of all logits is the same answer
        # Of two classes with odds 3:1 for the teacher and 1:1 for what learns, at temperature 1: 0.75 log(1.5) + 0.25 log(0.5).
        told = torch.tensor([[3.0, 1.0]]).log()
        self.assertAlmostEqual(float(teaching.distance(torch.zeros(1, 2), told, 1.0)), 0.130812, places=5)
        self.assertAlmostEqual(float(teaching.distance(torch.zeros(1, 2), 2 * told, 2.0)), 4 * 0.130812, places=5)


if __name__ == "__main__":
    unittest.main()
