"""Training's pixels are the service's: each file of test/fixtures is compared with what the service made of it.

`served-pixels/<file>.webp` is kept by test/image-formats.test.ts, which compares it with what the service makes today.
"""
import io
import sys
import tempfile
import unittest
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
import data
import decode
import domains

FIXTURES = Path(__file__).parents[2] / "test" / "fixtures"
# Largest mean difference of a sample, of 255, and largest difference.
MEAN, MOST = 0.25, 4
# Chroma that is stored at half the resolution: libheif repeats it, PIL's libavif interpolates.
AVIF_MEAN, AVIF_MOST = 2, 45
# PIL has no profile for CMYK, and does not know these kinds of TIFF. Training refuses them, the service does not.
REFUSED_HERE = {"cmyk.jpg", "cmyk.tiff", "cmyk-16bit.tiff", "cmyk-alpha.tiff", "deep-grey-alpha.tiff", "deep-planes.tiff",
                "white-is-0-alpha.tiff"}
# Damage that PIL hides, or not, by its version.
HIDDEN_DAMAGE = {"damaged.jpg", "damaged-scan-missing.jpg"}


def files(folder: str) -> list[Path]:
    return sorted(p for p in (FIXTURES / folder).iterdir() if "golden" not in p.name)


class Decode(unittest.TestCase):
    def setUp(self):
        warnings.simplefilter("ignore")  # of PIL, about damaged tags
        self.addCleanup(warnings.resetwarnings)

    def test_pixels_are_those_of_the_service(self):
        compared = 0
        for path in files("images"):
            if path.suffix == ".avif" and "AVIF" not in Image.OPEN:
                continue
            with self.subTest(path.name):
                if path.name in REFUSED_HERE:
                    with self.assertRaises(decode.Unreadable):
                        data.decode(path.read_bytes())
                    continue
                found = data.centre(data.decode(path.read_bytes())).astype(int)
                served = Image.open(FIXTURES / "served-pixels" / f"{path.name}.webp").convert("RGB")
                difference = np.abs(found - np.asarray(served, int))
                mean, most = (AVIF_MEAN, AVIF_MOST) if path.suffix == ".avif" else (MEAN, MOST)
                self.assertLessEqual(difference.mean(), mean)
                self.assertLessEqual(difference.max(), most)
                compared += 1
        self.assertGreater(compared, 100)

    def test_what_the_service_refuses_is_refused(self):
        for path in files("refused-images"):
            if path.name not in HIDDEN_DAMAGE:
                with self.subTest(path.name), self.assertRaises(decode.Unreadable):
                    data.decode(path.read_bytes())

    def test_the_end_of_a_thumbnail_is_not_that_of_its_image(self):
        self.assertFalse(decode.whole_jpeg((FIXTURES / "refused-images" / "no-end-but-of-thumbnail.jpg").read_bytes()))
        self.assertTrue(decode.whole_jpeg((FIXTURES / "images" / "second-image.jpg").read_bytes()))

    def test_ordinary_files_are_read_as_PIL_reads_them(self):
        """So the shipped packs, trained before decode.py was there, are not touched by it."""
        for name in ("colour.jpg", "colour-progressive.jpg", "grey.jpg", "large.jpg", "colour.png", "grey.png", "colour-alpha.png",
                     "colour-palette.png", "bilevel.png", "interlaced.png", "colour.webp", "lossless.webp", "grey.webp",
                     "colour-alpha.webp"):
            encoded = (FIXTURES / "images" / name).read_bytes()
            plain = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
            self.assertTrue(np.array_equal(decode.pixels(encoded), plain), name)

    def test_a_file_that_is_refused_is_named(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "d" / "train" / "x" / "broken.png"
            path.parent.mkdir(parents=True)
            path.write_bytes((FIXTURES / "refused-images" / "damaged.png").read_bytes())
            with self.assertRaisesRegex(decode.Unreadable, "train/x/broken.png.*checksum"):
                data.load(folder, domains.Domain("d", "d", "", "", ""), "train", ["x"])


if __name__ == "__main__":
    unittest.main()
