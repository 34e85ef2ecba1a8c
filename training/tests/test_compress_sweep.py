"""Which packs compress_sweep.py trains, and which it projects first."""
import argparse
import sys
import tempfile
import types
import unittest
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
import compress_sweep
import pack

FAMILY = types.SimpleNamespace(name="tiny-half", fingerprint="compressed", manifest={
    "compressed": {"family": "tiny", "fingerprint": "whole", "packs": ["dtd10", "sketch"]}})


class Runs(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.packs = Path(scratch.name)

    def add(self, domain: str, family: str) -> None:
        pack.write(self.packs / f"{domain}.safetensors", {"head.weight": torch.zeros(1, 2)}, family=family, design="parallel", labels=["a"],
                   mean=[0, 0, 0], std=[1, 1, 1])

    def runs(self, *only: str, family=FAMILY) -> list[compress_sweep.Run]:
        args = argparse.Namespace(packs=self.packs, work=Path("work"), only=list(only) or None)
        return compress_sweep.runs_of(args, family)

    def test_packs_of_the_compressed_family_start_from_themselves(self):
        self.add("sketch", "compressed")
        self.add("dtd10", "compressed")
        runs = self.runs()
        self.assertEqual([(run.domain, run.unseen) for run in runs], [("dtd10", False), ("sketch", False)])
        self.assertEqual([run.start for run in runs], [run.pack for run in runs])

    def test_of_whole_packs_those_that_took_no_part_are_projected(self):
        for domain in ("dtd10", "sketch", "ucmerced"):
            self.add(domain, "whole")
        runs = self.runs()
        self.assertEqual([(run.domain, run.unseen) for run in runs], [("ucmerced", True)])
        self.assertNotEqual(runs[0].start, runs[0].pack)
        self.assertEqual(runs[0].result.parts[-3:], ("tiny-half", "unseen", "ucmerced.json"))

    def test_what_cannot_be_trained_is_refused(self):
        self.add("sketch", "whole")
        self.add("ucmerced", "another")
        for only, said in (("sketch", "took part"), ("ucmerced", "neither"), ("trashnet", "has no pack")):
            with self.assertRaisesRegex(SystemExit, said):
                self.runs(only)
        with self.assertRaisesRegex(SystemExit, "not compressed"):
            self.runs(family=types.SimpleNamespace(name="tiny", fingerprint="whole", manifest={}))


if __name__ == "__main__":
    unittest.main()
