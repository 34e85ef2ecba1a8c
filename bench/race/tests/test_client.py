"""How answers are compared."""

import tempfile
import unittest
from pathlib import Path

import here  # noqa: F401
from client import compare


class Answers:
    """A client whose answers are given, by domain and image."""

    def __init__(self, by_image: dict):
        self.by_image = by_image

    def predict(self, domain: str, jpeg: bytes):
        return self.by_image.get((domain, jpeg.decode()))


class Compare(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.data = Path(folder.name)
        for kind in ("exact", "images"):
            (self.data / kind).mkdir()
            (self.data / kind / "1.jpg").write_text(kind)
        rows = [[3, 0.7], [1, 0.2], [0, 0.1]]
        self.expected = {"a": {"exact": {"1.jpg": rows}, "images": {"1.jpg": rows}}}

    def compare(self, exact: list | None, image: list | None) -> dict:
        return compare(Answers({("a", "exact"): exact, ("a", "images"): image}), self.expected, ["a", "unchecked"], self.data)

    def test_the_same_answers(self):
        found = self.compare([(3, 0.7), (1, 0.2), (0, 0.1)], [(3, 0.5)])
        self.assertEqual(found, {"difference": 0, "other_class": 0, "exact": 1, "agreement": 100})

    def test_scores_that_differ(self):
        found = self.compare([(3, 0.7), (1, 0.25), (0, 0.05)], [(1, 0.5)])
        self.assertAlmostEqual(found["difference"], 0.05)
        self.assertEqual((found["other_class"], found["agreement"]), (0, 0))

    def test_another_class_and_no_answer(self):
        self.assertEqual(self.compare([(1, 0.7)], None)["other_class"], 1)
        found = self.compare(None, None)
        self.assertEqual((found["difference"], found["other_class"], found["agreement"]), (0.7, 1, 0))


if __name__ == "__main__":
    unittest.main()
