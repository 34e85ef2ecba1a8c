"""Preparation goes on where it was broken off. Needs the race's environment, as test_dedicated.py does."""

import json
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import here  # noqa: F401

try:
    import prepare
except ImportError as missing:
    raise unittest.SkipTest(f"{missing}; run this with the race's environment") from missing

NAMES = ["newcomer", "d0000"]


class Preparation(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir = Path(folder.name) / "half"
        patch = mock.patch.object(prepare, "data_of", return_value=self.dir)
        patch.start()
        self.addCleanup(patch.stop)

    def made(self) -> dict[str, list[str]]:
        """What one preparation makes."""
        one = prepare.Preparation("half")
        return {"packs": list(one.packs(NAMES)), "nets": list(one.nets(NAMES))}

    def test_what_is_there_is_left_and_what_is_missing_is_made(self):
        self.assertEqual(self.made(), {"packs": NAMES, "nets": NAMES})
        self.assertEqual(self.made(), {"packs": [], "nets": []})
        network = self.dir / "nets" / "d0000.onnx"
        before = network.read_bytes()
        network.unlink()
        self.assertEqual(self.made(), {"packs": [], "nets": ["d0000"]})
        self.assertEqual(network.read_bytes(), before)
        self.assertEqual(list(self.dir.rglob("*.part")), [])

    def test_what_was_made_of_another_family_is_made_again(self):
        self.made()
        stamp = self.dir / "made.json"
        stamp.write_text(json.dumps({**json.loads(stamp.read_text()), "files": "others"}))
        self.assertEqual(self.made()["packs"], NAMES)

    def test_expected_answers_are_added_for_domains_that_lack_them(self):
        self.made()
        one = prepare.Preparation("half")
        one.images()
        one.expected(NAMES[:1])
        first = json.loads((self.dir / "expected.json").read_text())
        one.expected(NAMES)
        both = json.loads((self.dir / "expected.json").read_text())
        self.assertEqual(both["newcomer"], first["newcomer"])
        self.assertEqual(len(both["d0000"]["exact"]), prepare.pictures.EXACT)
        for rows in both["d0000"]["exact"].values():
            self.assertEqual([score for _, score in rows], sorted((score for _, score in rows), reverse=True))


if __name__ == "__main__":
    unittest.main()
