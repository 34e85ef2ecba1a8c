"""Loads a domain's images as uint8 pixels, with exactly the service's preprocessing, and makes training batches of them.

Contract with the service: RGB; shorter side to the frame's (72 in the family resnet26-half), triangle kernel (PIL BILINEAR,
libvips `linear`), aspect kept, longer side rounded; centre crop (64x64 there) at floor((side - crop) / 2); uint8; then
(x / 255 - mean) / std per domain. What it does not know: networks, designs.
"""
from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from tqdm import tqdm

import decode as decoding
import domains

SUFFIXES = (".webp", ".png", ".jpg", ".jpeg", ".gif", ".avif", ".tif", ".tiff")


@dataclass(frozen=True)
class Frame:
    """What a family makes of an image's pixels (`input` of its family.json): shorter side, crop [height, width], kernel."""

    resize: int
    height: int
    width: int
    kernel: str = "linear"

    @property
    def crop(self) -> int:
        """The longer side of the crop."""
        return max(self.height, self.width)


# The frame of the family resnet26-half.
FRAME = Frame(72, 64, 64)
RESIZE, CROP = FRAME.resize, FRAME.crop
KERNELS = {"nearest": Image.NEAREST, "linear": Image.BILINEAR, "cubic": Image.BICUBIC, "lanczos3": Image.LANCZOS}


class Files:
    """The images of a zip file or of a folder. `members`: their paths in it, sorted; `others`: those of files that are no images by
    their names; `folders`: of all folders. What an operating system hides is in none of them.

    Raises FileNotFoundError where `path` is neither.
    """

    def __init__(self, path: Path):
        self.path, self.zip = path, None
        if path.is_dir():
            found = [p.relative_to(path).as_posix() + ("/" if p.is_dir() else "") for p in path.rglob("*")]
        elif zipfile.is_zipfile(path):
            self.zip = zipfile.ZipFile(path)
            found = self.zip.namelist()
        else:
            raise FileNotFoundError(f"{path} is neither a folder nor a zip file")
        found = sorted(m for m in found if not any(word.startswith(".") or word == "__MACOSX" for word in m.split("/")))
        files = [m for m in found if not m.endswith("/")]
        self.members = [m for m in files if m.lower().endswith(SUFFIXES)]
        self.others = [m for m in files if not m.lower().endswith(SUFFIXES)]
        self.folders = sorted({m[:-1] for m in found if m.endswith("/")} | {str(folder) for m in files for folder in list(PurePosixPath(m).parents)[:-1]})

    def read(self, member: str) -> bytes:
        return self.zip.read(member) if self.zip else (self.path / member).read_bytes()


class Archive(Files):
    """Reads the files of `<name>.zip`, or of the unpacked folder `<name>`, in a data directory.

    Raises SystemExit with one line where they lie in another way than `<split>/<class>/<image>`.
    """

    def __init__(self, directory: str | Path, name: str):
        folder, packed = Path(directory) / name, Path(directory) / f"{name}.zip"
        if not folder.is_dir() and not packed.is_file():
            raise FileNotFoundError(f"neither {packed} nor {folder}/ exists; pass --data the directory that holds them")
        super().__init__(folder if folder.is_dir() else packed)
        found = self.members
        self.members = [m for m in found if m.count("/") == 2]
        if not any(m.startswith("train/") for m in self.members):
            found = f"its images are at other places, such as {found[0]}" if found else "it holds no such image"
            raise SystemExit(f"{self.path} needs images as train/<class>/<image> and test/<class>/<image> "
                             f"({', '.join(SUFFIXES)}); {found}")


@dataclass
class Split:
    """Images in memory. `pixels[i]`: uint8 [h, w, 3], the shorter side resized; `targets`: int64 [n]; `names[i]`: "<class folder>/<file>"."""

    pixels: list[np.ndarray] = field(default_factory=list)
    targets: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    names: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.pixels)

    def subset(self, indices) -> "Split":
        return Split([self.pixels[i] for i in indices], self.targets[indices], [self.names[i] for i in indices])


def decode(data: bytes, frame: Frame = FRAME) -> np.ndarray:
    """Decodes an image to uint8 RGB [h, w, 3], its shorter side resized as the frame says. Raises Unreadable (decode.py)."""
    image = Image.fromarray(decoding.pixels(data))
    w, h = image.size
    short = min(w, h)
    if short != frame.resize:
        size = tuple(frame.resize if side == short else int(side * frame.resize / short + 0.5) for side in (w, h))
        if short < frame.resize and frame.kernel == "linear":
            # When enlarging, PIL rounds between its two passes; libvips, and so the service, rounds once at the end.
            pixels = torch.from_numpy(np.array(image, np.float32)).permute(2, 0, 1)[None]
            enlarged = F.interpolate(pixels, size=size[::-1], mode="bilinear", align_corners=False)
            return (enlarged[0].permute(1, 2, 0) + 0.5).floor().to(torch.uint8).numpy()
        image = image.resize(size, KERNELS[frame.kernel])
    return np.asarray(image)


def centre(pixels: np.ndarray, frame: Frame = FRAME) -> np.ndarray:
    """The centre crop of the service: uint8 [height, width, 3]."""
    y, x = ((side - crop) // 2 for side, crop in zip(pixels.shape, (frame.height, frame.width)))
    return pixels[y:y + frame.height, x:x + frame.width]


def classes(data: str | Path, domain: domains.Domain) -> tuple[list[str], list[str]]:
    """Class folders in the order of their indices (sorted as strings), and their labels for people."""
    folders = sorted({m.split("/")[1] for m in Archive(data, domain.archive).members if m.startswith("train/")})
    names = Path(data) / "classes.json"
    named = json.loads(names.read_text()).get(domain.archive, {}) if names.is_file() else {}
    return folders, domains.labels(domain.id, folders, named)


def load(data: str | Path, domain: domains.Domain, split: str, folders: list[str], limit: int = 0, frame: Frame = FRAME) -> Split:
    """Decodes one split (`train`, `val`, `test`), at most `limit` images a class (0: all; the first by name)."""
    archive, taken, members = Archive(data, domain.archive), {}, []
    for m in archive.members:
        part, folder, _ = m.split("/")
        if part == split and (not limit or taken.get(folder, 0) < limit):
            taken[folder] = taken.get(folder, 0) + 1
            members.append(m)
    index = {f: i for i, f in enumerate(folders)}
    pixels = [decode_member(archive, m, frame) for m in tqdm(members, desc=f"{domain.id} {split}", leave=False, mininterval=2)]
    return Split(pixels, np.array([index[m.split("/")[1]] for m in members], np.int64),
                 [m.split("/", 1)[1] for m in members])


def decode_member(files: Files, member: str, frame: Frame = FRAME) -> np.ndarray:
    try:
        return decode(files.read(member), frame)
    except (decoding.Unreadable, OSError, RuntimeError, zipfile.BadZipFile) as error:  # a zip file may be damaged or have a password
        raise decoding.Unreadable(f"{member}: {error}") from error


def hold_out(split: Split, share: float, seed: int) -> tuple[Split, Split]:
    """Splits train into (rest, held out): `share` of each class is held out, at least one image; and of two or more one stays."""
    rng, held = np.random.default_rng(seed), []
    for c in np.unique(split.targets):
        own = rng.permutation(np.flatnonzero(split.targets == c))
        held.extend(own[:max(1, min(len(own) - 1, round(len(own) * share)))])
    rest = np.setdiff1d(np.arange(len(split)), held)
    return split.subset(rest), split.subset(np.sort(held))


def join(a: Split, b: Split) -> Split:
    return Split(a.pixels + b.pixels, np.concatenate([a.targets, b.targets]), a.names + b.names)


def few(split: Split, shots: int, seed: int) -> Split:
    """`shots` random images of each class. Raises ValueError if a class has fewer."""
    rng, chosen = np.random.default_rng(seed), []
    for c in np.unique(split.targets):
        own = np.flatnonzero(split.targets == c)
        if len(own) < shots:
            raise ValueError(f"class {c} has {len(own)} images, fewer than {shots}")
        chosen.extend(rng.choice(own, shots, replace=False))
    return split.subset(np.sort(chosen))


def statistics(split: Split, at_most: int = 4000, frame: Frame = FRAME) -> tuple[list[float], list[float]]:
    """Per-channel mean and std of the centre crops (0-1 RGB), rounded to four digits; std at least 0.02."""
    step = max(1, len(split) // at_most)
    x = np.stack([centre(p, frame) for p in split.pixels[::step]]).reshape(-1, 3).astype(np.float32) / 255
    return [round(float(v), 4) for v in x.mean(0)], [round(max(0.02, float(v)), 4) for v in x.std(0)]


def normalise(pixels: torch.Tensor, mean: list[float], std: list[float]) -> torch.Tensor:
    """Converts uint8 [N, H, W, 3] to normalised float [N, 3, H, W] (channels last in memory)."""
    x = pixels.permute(0, 3, 1, 2).float().div_(255)
    shape = (1, 3, 1, 1)
    return x.sub_(x.new_tensor(mean).view(shape)).div_(x.new_tensor(std).view(shape))


def test_batches(split: Split, mean, std, size: int = 128, resolution: int = 0, frame: Frame = FRAME):
    """Yields normalised centre crops [<=size, 3, height, width] in order, resized if another resolution is given."""
    for i in range(0, len(split), size):
        x = normalise(torch.from_numpy(np.stack([centre(p, frame) for p in split.pixels[i:i + size]])), mean, std)
        yield x if resolution in (0, frame.crop) else F.interpolate(x, (resolution, resolution), mode="bilinear", antialias=True)


def train_batch(split: Split, indices, mean, std, flips: str, resolution: int, rng: np.random.Generator,
                erase: float = 0.0, frame: Frame = FRAME) -> torch.Tensor:
    """An augmented batch [N, 3, resolution, resolution]: each image is cropped at a random place and mirrored at random.
    (Where the frame's crop is no square, `resolution` is the longer side and the shorter one is in proportion.)

    In a share `erase` of the images a random rectangle of 2-30% of the area becomes the mean colour (Zhong et al. 2017).

    At the frame's own resolution the crop is not resampled, as in the test: resampled training images are blurrier, and
    the running statistics learnt from them cost EuroSAT 2.5 points. At lower resolutions (the cheap part of a run) each batch
    draws one crop side from 7/8 of the frame's crop to all of the resized image (scale jitter), and the crops are shrunk.
    """
    side = frame.crop if resolution == frame.crop else int(rng.integers(round(frame.crop * 7 / 8), frame.resize + 1))
    height, width = ((s * side) // frame.crop for s in (frame.height, frame.width))
    crops = np.empty((len(indices), height, width, 3), np.uint8)
    for n, i in enumerate(indices):
        p = split.pixels[i]
        y, x = (int(rng.integers(0, s - crop + 1)) for s, crop in zip(p.shape, (height, width)))
        crop = p[y:y + height, x:x + width]
        if flips != "none" and rng.random() < 0.5:
            crop = crop[:, ::-1]
        if flips == "both" and rng.random() < 0.5:
            crop = crop[::-1]
        crops[n] = crop
    x = normalise(torch.from_numpy(crops), mean, std)
    if side != resolution:
        size = tuple(round(s * resolution / frame.crop) for s in (frame.height, frame.width))
        x = F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=side > resolution)
    for n in np.flatnonzero(rng.random(len(x)) < erase) if erase else ():
        area, aspect = rng.uniform(0.02, 0.3) * resolution**2, np.exp(rng.uniform(-1, 1))
        h, w = (int(np.clip(round(side), 1, resolution)) for side in ((area * aspect) ** 0.5, (area / aspect) ** 0.5))
        top, left = int(rng.integers(0, resolution - h + 1)), int(rng.integers(0, resolution - w + 1))
        x[n, :, top:top + h, left:left + w] = 0
    return x
