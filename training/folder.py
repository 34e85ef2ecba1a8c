"""A stranger's folder (or zip file) of labelled images, in splits.

Two layouts are read: `train|val|test/<class>/<image>`, where val and test may be absent, and `<class>/<image>`. Where there is no
test split, a part of each class is held out as one. All problems of a folder are errors of one line, raised before any work.
What it does not know: families, training.
"""
from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

import data
import decode as decoding

SPLITS = ("train", "val", "test")


class FolderError(ValueError):
    """The images cannot be trained on; the message says which file or class, and what would mend it."""


@dataclass
class Images:
    """`folders`: class folders in the order of class indices; `note`: how test came about, in words; `others`: files that are no
    images of a kind that is read."""

    train: data.Split
    val: data.Split
    test: data.Split
    folders: list[str]
    note: str
    others: list[str]


def read(path: str | Path, frame: data.Frame, test_share: float = 0.2, seed: int = 0, limit: int = 0, with_val: bool = False,
         only_train: bool = False) -> Images:
    """Reads and decodes all images.

    `test_share`: of each class, what is held out where there is no `test`. `limit`: at most so many training images a class, the
    first by name (0: all). `with_val`: `val` is trained on too. `only_train`: no other split is read, and test stays empty.
    Raises FolderError.
    """
    try:
        files = data.Files(Path(path))
    except FileNotFoundError as error:
        raise FolderError(f"{error}. Name a folder of train/<class>/<image>, or of <class>/<image>") from error
    by_split = layout(files)
    folders = sorted({name.split("/")[0] for name in by_split["train"]})
    check_folders(files, folders)
    if len(folders) < 2:
        raise FolderError(f"{path} has one class, {folders[0]!r}. A classifier needs two classes or more, each a folder of its own")
    for split in ("val", "test"):
        strange = sorted({name.split("/")[0] for name in by_split[split]} - set(folders))
        if strange:
            raise FolderError(f"{path}: {split} has the class {strange[0]!r}, which train has not. Training would never see it")
    has_test = bool(by_split["test"])
    if only_train:
        by_split["val"], by_split["test"] = [], []
    if limit:
        taken: Counter = Counter()
        kept = []
        for name in by_split["train"]:
            taken[name.split("/")[0]] += 1
            if taken[name.split("/")[0]] <= limit:
                kept.append(name)
        by_split["train"] = kept
    few = [folder for folder, count in Counter(name.split("/")[0] for name in by_split["train"]).items() if count < 2]
    if few and not has_test:
        raise FolderError(f"{path}: the class {few[0]!r} has a single image to train on, and one of each class is held out for the test. Add images, or a test/")
    splits = decoded(files, by_split, folders, frame)
    if with_val:
        splits["train"], splits["val"] = data.join(splits["train"], splits["val"]), data.Split()
    note = "test"
    if not len(splits["test"]) and not only_train:
        splits["train"], splits["test"] = data.hold_out(splits["train"], test_share, seed)
        note = f"held out of train, {test_share:.0%} of each class, seed {seed}"
    return Images(**splits, folders=folders, note=note, others=files.others)


def check_folders(files: data.Files, classes: list[str]) -> None:
    """Raises FolderError for a class folder without images: its class would be left out, and nobody would see it."""
    start = "train/" if any(m.startswith("train/") for m in files.members) else ""
    depth = start.count("/")
    empty = [f for f in files.folders if f.startswith(start) and f.count("/") == depth and f.split("/")[-1] not in classes]
    if empty:
        other = next((f"; {m} is none" for m in files.others if m.startswith(f"{empty[0]}/")), "")
        raise FolderError(f"{files.path}: the folder {empty[0]} holds no image ({', '.join(data.SUFFIXES)}){other}. Add images, or remove the folder")


def layout(files: data.Files) -> dict[str, list[str]]:
    """Of each split the images as `<class>/<image>`. Raises FolderError where they lie in another way."""
    if not files.members:
        raise FolderError(f"{files.path} holds no image ({', '.join(data.SUFFIXES)})")
    in_splits = any(m.startswith("train/") for m in files.members)
    found: dict[str, list[str]] = {split: [] for split in SPLITS}
    for member in files.members:
        words = member.split("/")
        if in_splits and len(words) == 3 and words[0] in SPLITS:
            found[words[0]].append("/".join(words[1:]))
        elif not in_splits and len(words) == 2:
            found["train"].append(member)
        else:
            wanted = "<split>/<class>/<image>, the split train, val or test" if in_splits else "<class>/<image>, or train/<class>/<image>"
            raise FolderError(f"{files.path}: {member} does not lie as {wanted}. Move or remove it")
    if not in_splits and {m.split("/")[0] for m in files.members} <= {"val", "test"}:
        raise FolderError(f"{files.path} has no train/")
    return found


def decoded(files: data.Files, by_split: dict[str, list[str]], folders: list[str], frame: data.Frame) -> dict[str, data.Split]:
    index = {folder: i for i, folder in enumerate(folders)}
    in_splits = any(m.startswith("train/") for m in files.members)
    total, bad = sum(map(len, by_split.values())), []
    splits = {}
    with tqdm(total=total, desc="reading images", unit="image", mininterval=2, leave=False) as bar:
        for split, names in by_split.items():
            pixels = []
            for name in names:
                member = f"{split}/{name}" if in_splits else name
                try:
                    pixels.append(data.decode_member(files, member, frame))
                except decoding.Unreadable as error:
                    bad.append(str(error))
                bar.update()
            if not bad:
                splits[split] = data.Split(pixels, np.array([index[n.split("/")[0]] for n in names], np.int64), list(names))
    if bad:
        more = f", and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise FolderError(f"{files.path} has images that cannot be read: {'; '.join(bad[:5])}{more}. Replace or remove them")
    return splits
