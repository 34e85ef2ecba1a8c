"""The table of domains: the archive of each, the mirrorings that keep its classes, its description and its licence.

Labels come from `classes.json` beside the archives, otherwise from folder names. What it does not know: pixels, networks.
"""
from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Domain:
    """One row of the table. `archive`: name of `<archive>.zip` (or folder) in the data directory."""

    id: str
    archive: str
    title: str
    description: str
    license: str
    flips: str = "none"  # none | horizontal | both: mirrorings after which an image still has its class


_TABLE = [
    Domain("aircraft", "vd_aircraft", "Aircraft", "Aircraft variants (FGVC-Aircraft, Visual Decathlon split)",
           "research, non-commercial", "horizontal"),
    Domain("cifar100", "vd_cifar100", "CIFAR-100", "Small everyday objects (CIFAR-100, Visual Decathlon split)",
           "not stated", "horizontal"),
    Domain("gtsrb", "gtsrb", "Traffic signs", "German traffic signs (GTSRB)", "research"),
    Domain("omniglot", "omniglot", "Characters", "Handwritten characters of 50 alphabets (Omniglot)", "MIT"),
    Domain("dtd10", "dtd10", "Textures", "Textures, ten classes of the Describable Textures Dataset", "research", "both"),
    Domain("flowers90", "flowers90", "Flowers", "Flowers, 90 classes of Oxford-102 by their published number",
           "research", "horizontal"),
    Domain("eurosat", "eurosat", "Land use, satellite", "Satellite land use (EuroSAT, RGB)", "MIT", "both"),
    Domain("fashion_mnist", "fashion_mnist", "Clothing", "Clothing on black ground (Fashion-MNIST)", "MIT", "horizontal"),
    Domain("blood_cells", "blood_cells", "Blood cells", "White blood cells under the microscope (BCCD, augmented)",
           "MIT (likely source)", "both"),
    Domain("sketch", "sketch", "Sketches", "Sketched objects (PACS)", "research", "horizontal"),
    Domain("sign_digits", "sign_digits", "Hand signs", "Hand signs for the digits 0 to 9", "Apache-2.0"),
    Domain("trashnet", "trashnet", "Waste", "Waste on white ground by material (TrashNet)", "MIT", "both"),
    Domain("ucmerced", "ucmerced", "Land use, aerial", "Aerial land use (UC Merced)", "public domain imagery", "both"),
]

DOMAINS = {d.id: d for d in _TABLE}

# Class names of Oxford-102 by number, 1 to 102, in the data set's own order (compared with images of two dozen classes).
FLOWERS = {str(i): name for i, name in enumerate((
    "pink primrose, hard-leaved pocket orchid, canterbury bells, sweet pea, english marigold, tiger lily, moon orchid, "
    "bird of paradise, monkshood, globe thistle, snapdragon, colt's foot, king protea, spear thistle, yellow iris, "
    "globe-flower, purple coneflower, peruvian lily, balloon flower, giant white arum lily, fire lily, pincushion"
    "flower, fritillary, red ginger, grape hyacinth, corn poppy, prince of wales feathers, stemless gentian, artichoke, "
    "sweet william, carnation, garden phlox, love in the mist, mexican aster, alpine sea holly, ruby-lipped cattleya, "
    "cape flower, great masterwort, siam tulip, lenten rose, barbeton daisy, daffodil, sword lily, poinsettia, bolero"
    "deep blue, wallflower, marigold, buttercup, oxeye daisy, common dandelion, petunia, wild pansy, primula, sunflower, "
    "pelargonium, bishop of llandaff, gaura, geranium, orange dahlia, pink-yellow dahlia, cautleya spicata, japanese"
    "anemone, black-eyed susan, silverbush, californian poppy, osteospermum, spring crocus, bearded iris, windflower, "
    "tree poppy, gazania, azalea, water lily, rose, thorn apple, morning glory, passion flower, lotus, toad lily, "
    "anthurium, frangipani, clematis, hibiscus, columbine, desert-rose, tree mallow, magnolia, cyclamen, watercress, "
    "canna lily, hippeastrum, bee balm, ball moss, foxglove, bougainvillea, camellia, mallow, mexican petunia, bromelia, "
    "blanket flower, trumpet creeper, blackberry lily"
).split(", "), 1)}

# UC Merced's folder names have no spaces between their words.
AERIAL = {"".join(words.split()): words for words in (
    "baseball diamond", "dense residential", "golf course", "medium residential", "mobile home park", "parking lot",
    "sparse residential", "storage tanks", "tennis court")}


def domain(name: str) -> Domain:
    """The row of a domain id. Raises ValueError that lists the known ids."""
    if name not in DOMAINS:
        raise ValueError(f"unknown domain {name!r}; one of {', '.join(DOMAINS)}")
    return DOMAINS[name]


def labels(domain_id: str, folders: list[str], named: dict[str, str]) -> list[str]:
    """Labels for people of class folders, in order. The folder's name is added to a label that two folders share.

    `named` maps folders to names, as in classes.json. Other labels are made from the folder's name
    ("Alphabet.character01" -> "Alphabet, character 01").
    """
    tidy = [named.get(f) or _tidy(domain_id, f) for f in folders]
    return [f"{t} ({f})" if tidy.count(t) > 1 else t for t, f in zip(tidy, folders)]


def _tidy(domain_id: str, folder: str) -> str:
    if domain_id == "omniglot":
        alphabet, _, character = folder.partition(".character")
        return f"{alphabet.replace('_', ' ')}, character {character}"
    if domain_id == "flowers90":
        return FLOWERS.get(folder, f"Oxford-102 class {folder}")
    if domain_id == "ucmerced":
        return AERIAL.get(folder, folder)
    if domain_id == "blood_cells":
        return folder.lower()
    return folder
