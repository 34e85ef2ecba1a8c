"""Every run of docs/results.md, the most useful first, as commands of adapt.py and allocate.py.

A finished run is a results file; `sweep.py` does those that are missing. What it does not know: how to train, how runs are started.
"""
from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
# The values of network.DESIGNS; importing it would load torch, which the sweep's process does not need.
DESIGNS = ("feature", "bn", "series", "parallel", "finetune", "scratch")

# As many as two shared CPU cores could do. A results file holds the epochs of its run; delete it to run again with these.
EPOCHS = {"sign_digits": 20, "eurosat": 6, "fashion_mnist": 48, "dtd10": 20, "sketch": 24, "trashnet": 24, "ucmerced": 16,
          "flowers90": 24, "blood_cells": 6, "gtsrb": 6, "aircraft": 30, "cifar100": 7, "omniglot": 14}
# Drawings and photographs of 28 or 32 pixels lose little at a low resolution, so more of the run is spent there.
OPTIONS = {"cifar100": ["--schedule", "32:0.7,64:0.3"], "omniglot": ["--schedule", "32:0.5,48:0.2,64:0.3"],
           "fashion_mnist": ["--erase", "0.5", "--schedule", "32:0.5,48:0.25,64:0.25"]}
RATES = {("fashion_mnist", "parallel"): "0.3"}  # learning rates that differ from adapt.default_rate
FIRST = ("sign_digits", "eurosat", "fashion_mnist")
SMALL = ("sign_digits", "dtd10", "trashnet", "ucmerced", "sketch", "blood_cells")
# Series and parallel lie close together: the small domains also run with these seeds, beside seed 0.
SEEDS, SEEDED_DESIGNS = (1, 2), ("series", "parallel")
# Starts and dropout of the paper, each tried once with seed 0: options by design.
STARTS = [("parallel", {"--init": "he"}), ("series", {"--init": "he"}), ("parallel", {"--dropout": "0.5"})]
# Where matrices are: words of slots.py, and lists that allocate.py makes of a domain's held-out images. All seeds, the shorter domains first.
ALLOCATED, FIXED_SLOTS, LISTS = ("dtd10", "ucmerced", "blood_cells", "trashnet", "sign_digits"), ("early", "middle", "late", "early+late"), ("as-middle", "half", "as-early")
# Searched on a held-out fifth of train: options by domain and design, in addition to the domain's own.
DECAYS = [{"--lr": "0.2", "--weight-decay": decay} for decay in ("1e-4", "5e-4", "2e-3")]
LONGER = [{"--epochs": "24"}]
SEARCH = {
    "sketch": {"parallel": DECAYS + LONGER, "series": LONGER, "finetune": LONGER},
    "trashnet": {"parallel": DECAYS + LONGER},
    "ucmerced": {"parallel": DECAYS},
}
FEW_DOMAINS, FEW_SHOTS, FEW_SEEDS = ("sign_digits", "sketch", "trashnet"), (5, 10, 25), (0, 1, 2)
# Runs on few images have a fixed number of steps: a few epochs over 50 images end before the adapters, which start at zero, have
# grown. The second number is tried once, to see whether steps are what is missing.
FEW_STEPS, FEW_MORE_STEPS = "300", "900"
SMALL_SIDES, LARGE_SIDES = "32:0.6,48:0.2,64:0.2", "48:0.6,64:0.4"
# Learning rates, weight decays and resolutions that are tried for each design, on a held-out fifth of each domain's train.
FEW_GRID = {
    "parallel": [(rate, "2e-3", SMALL_SIDES) for rate in ("0.1", "0.2", "0.4", "0.8")]
    + [("0.2", "2e-3", LARGE_SIDES)],
    "finetune": [(rate, "5e-4", SMALL_SIDES) for rate in ("0.02", "0.05", "0.1", "0.2")]
    + [("0.1", "5e-4", LARGE_SIDES)],
}
# Tried later on the same held-out images, without the 32-pixel part and with half the steps: rates, and by tag the means of fewshot.py. `tsa`: as
# in the paper of that name, with the source's statistics; `means`: the loss of class means alone; `blend`: blended statistics alone.
FEW_HALF_STEPS = "150"
FEW_RATES = {"parallel": ("0.2", "0.8"), "finetune": ("0.1", "0.2")}
FEW_MEANS = {
    "tsa": ["--steps", "40", "--batch", "64", "--schedule", "64:1", "--optimizer", "adadelta", "--loss", "prototype", "--blend", "1e9", "--lr", "0.5"],
    "means": ["--steps", FEW_HALF_STEPS, "--batch", "32", "--schedule", LARGE_SIDES, "--loss", "prototype", "--lr", "0.8"],
    "blend": ["--steps", FEW_HALF_STEPS, "--batch", "32", "--schedule", LARGE_SIDES, "--blend", "100", "--lr", "0.8"],
}
# A rate for each run: those that it chooses from by its own images.
OWN_RATES = {"parallel": "0.2,0.8", "finetune": "0.1,0.2"}
# The ones with the best mean over the domains.
FEW_CHOSEN = {"parallel": ("0.2", "2e-3", LARGE_SIDES), "finetune": ("0.1", "5e-4", LARGE_SIDES)}


@dataclass
class Run:
    """One run of a script of this folder. Its results file is `<folder><name>.json`; `options` are the script's arguments other than
    paths of this machine; `needs`: a file that another run writes."""

    stage: str
    name: str
    options: list[str] = field(default_factory=list)
    folder: str = ""
    script: str = "adapt.py"
    needs: Path | None = None


def adaptation(stage: str, domain: str, design: str, seed: int = 0, epochs: int = 0) -> Run:
    """A run on the whole of train, measured on test."""
    options = ["--domain", domain, "--design", design]
    if design != "feature":
        options += OPTIONS.get(domain, []) + ["--epochs", str(epochs or EPOCHS[domain])]
    if (domain, design) in RATES:
        options += ["--lr", RATES[domain, design]]
    name = f"{domain}.{design}"
    return Run(stage, f"{name}.{seed}", [*options, "--seed", str(seed), "--name", f"{name}.{seed}"], "seeds/") if seed else Run(stage, name, options)


def varied(domain: str, design: str, changes: dict[str, str]) -> Run:
    """A run like `adaptation` with options changed, measured on test."""
    name = ".".join([domain, design, *(f"{k.strip('-')}-{v}" for k, v in changes.items())])
    options = adaptation("starts", domain, design).options
    return Run("starts", name, [*options, *(word for pair in changes.items() for word in pair), "--name", name], "starts/")


def allocated(domain: str, where: str, seed: int, epochs: int = 0) -> Run:
    """A parallel run with matrices at some slots only: `where` is a word of slots.py or one of LISTS."""
    listed = HERE / "allocations" / f"{domain}.{where}.txt" if where in LISTS else None
    name = f"{domain}.parallel.{where}.{seed}"
    options = [*adaptation("allocation", domain, "parallel", epochs=epochs).options, "--slots", str(listed or where), "--seed", str(seed), "--name", name]
    return Run("allocation", name, options, "allocation/", needs=listed)


def ordered(domain: str) -> Run:
    """The measuring of what each matrix of a domain is worth, which makes its LISTS."""
    options = ["--domain", domain, *OPTIONS.get(domain, []), "--epochs", str(EPOCHS[domain])]
    return Run("allocation", domain, options, "allocation/order/", script="allocate.py")


def tried(domain: str, design: str, changes: dict[str, str], seed: int = 0) -> Run:
    """A run of the search on four fifths of train, measured on the other fifth. `changes`: options in addition to the domain's own."""
    name = ".".join(["whole", domain, design, *(f"{k.strip('-')}{v}" for k, v in changes.items()), str(seed)]).replace(":", "_").replace(",", "_")
    epochs = [] if "--epochs" in changes else ["--epochs", str(EPOCHS[domain])]
    options = ["--domain", domain, "--design", design, *OPTIONS.get(domain, []), *epochs, *(word for pair in changes.items() for word in pair)]
    return Run("search", name, [*options, "--seed", str(seed), "--val-share", "0.2", "--name", name], "search/")


def few(stage: str, domain: str, design: str, shots: int, seed: int, rate: str, decay: str, sides: str, steps: str = FEW_STEPS) -> Run:
    """A run on `shots` images a class, measured on test, or, in the search, on a held-out fifth of train."""
    searching = stage == "search"
    tag = (".large" if sides == LARGE_SIDES else "") + (f".steps{steps}" if steps != FEW_STEPS else "")
    name = f"few.{domain}.{design}.lr{rate}.decay{decay}{tag}" if searching else f"{domain}.{design}.{shots}.{seed}"
    options = ["--domain", domain, "--design", design, "--shots", str(shots), "--seed", str(seed), "--steps", steps, "--batch", "32", "--schedule", sides,
               "--lr", rate, "--weight-decay", decay, "--name", name] + (["--val-share", "0.2"] if searching else [])
    return Run(stage, name, options, "search/" if searching else "fewshot/")


def own_rate(domain: str, design: str, shots: int, seed: int) -> Run:
    """A run on few images that chooses its own rate, measured on test."""
    name = f"{domain}.{design}.{shots}.{seed}"
    options = ["--domain", domain, "--design", design, "--shots", str(shots), "--seed", str(seed), "--steps", FEW_HALF_STEPS, "--batch", "32", "--schedule", LARGE_SIDES,
               "--rates", OWN_RATES[design], "--weight-decay", FEW_CHOSEN[design][1], "--name", name]
    return Run("own-rate", name, options, "fewshot/own-rate/")


def few_means(domain: str, tag: str) -> Run:
    """A parallel run on few images with the means of one row of FEW_MEANS, measured on a held-out fifth of train."""
    name = f"few.{domain}.parallel.{tag}"
    options = ["--domain", domain, "--design", "parallel", "--shots", "10", "--seed", "0", "--weight-decay", "2e-3", *FEW_MEANS[tag], "--name", name, "--val-share", "0.2"]
    return Run("search", name, options, "search/")


def every_design(epochs: int, seeds: int = 1) -> list[Run]:
    """The plan for a GPU: all designs on all domains with the same number of epochs. With two seeds or more also the other seeds of series,
    parallel and fine-tuning, and on the domains of the allocation matrices at the fixed choices of slots with every seed."""
    runs = [adaptation("designs", d, design, epochs=epochs) for d in EPOCHS for design in DESIGNS]
    runs += [adaptation("seeds", d, design, seed, epochs) for seed in range(1, seeds) for d in EPOCHS for design in (*SEEDED_DESIGNS, "finetune")]
    return runs + [allocated(d, where, seed, epochs) for seed in range(seeds) for d in ALLOCATED for where in FIXED_SLOTS if seeds > 1]


def repeated() -> list[Run]:
    """Series and parallel with more seeds, and matrices at some slots only: a domain is done before the next begins."""
    runs, last = [], []
    for d in (*ALLOCATED, *(d for d in SMALL if d not in ALLOCATED)):
        runs += [adaptation("seeds", d, design, seed) for seed in SEEDS for design in SEEDED_DESIGNS]
        if d in ALLOCATED:
            runs += [ordered(d)] + [allocated(d, where, seed) for seed in (0, *SEEDS) for where in (*FIXED_SLOTS, *LISTS[:-1])]
            last += [allocated(d, LISTS[-1], seed) for seed in (0, *SEEDS)]
    return runs + last


def plan() -> list[Run]:
    """Every run of the project, the most useful first."""
    runs = [adaptation("parallel", d, "parallel") for d in FIRST]
    runs += [adaptation("parallel", d, "parallel") for d in EPOCHS if d not in FIRST]
    runs += [adaptation("designs", d, "feature") for d in EPOCHS]
    runs += [adaptation("designs", d, design) for d in SMALL[:3] for design in ("finetune", "bn", "series")]
    runs.append(adaptation("designs", "fashion_mnist", "finetune"))
    runs += [few("search", d, design, 10, 0, *pair) for d in FEW_DOMAINS for design, pairs in FEW_GRID.items() for pair in pairs]
    runs += [few("search", "sign_digits", design, 10, 0, *pair, FEW_MORE_STEPS) for design, pair in FEW_CHOSEN.items()]
    runs += [few_means(d, tag) for tag in FEW_MEANS for d in FEW_DOMAINS]
    runs += [few("search", d, design, 10, 0, rates[n], FEW_CHOSEN[design][1], LARGE_SIDES, FEW_HALF_STEPS)
             for n in range(2) for d in FEW_DOMAINS for design, rates in FEW_RATES.items()]
    runs += [few("fewshot", d, design, shots, seed, *FEW_CHOSEN[design])
             for seed in FEW_SEEDS for d in FEW_DOMAINS for shots in FEW_SHOTS for design in FEW_CHOSEN]
    runs += [adaptation("designs", d, design) for d in SMALL[3:] for design in ("finetune", "bn", "series")]
    runs += [adaptation("designs", d, "scratch") for d in SMALL]
    runs += [tried(d, design, changes) for d, designs in SEARCH.items() for design, many in designs.items() for changes in many]
    runs += [own_rate(d, design, shots, seed) for d in FEW_DOMAINS for design in FEW_CHOSEN for seed in FEW_SEEDS for shots in FEW_SHOTS]
    runs += repeated()
    runs += [varied(d, design, changes) for design, changes in STARTS for d in SMALL]
    runs += [adaptation("finetune", d, "finetune", seed) for d in SMALL for seed in SEEDS]
    return runs
