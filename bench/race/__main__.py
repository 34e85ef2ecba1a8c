"""`npm run race`: the service against what one would take instead. `--help` says what can be chosen."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from contestants import CONTESTANTS, Contestant, facet
from environments import MINIMUM, setup
from memory import measure_memory
from networks import NETWORKS
from paths import RESULTS
from race import Race
from run import Lengths

DESCRIPTION = """\
Races the service against what one would take instead of it: many small vision domains behind one HTTP endpoint,
JPEG in, labels out. One load generator for all, one contestant at a time, rounds in turn; answers are compared.
Linux only. Ends with a table and one JSON line; each run is a line on stderr and in the results' file.
"""
EXAMPLES = """\
examples:
  npm run race -- --setup                       once: virtual environments (Python 3.11+, a package index)
  npm run race                                  half width, 10 and 50 domains, 3 rounds: some ten minutes
  npm run race -- --check                       answers only, a minute or two; its figures mean nothing
  npm run race -- --network full --domains 10
  npm run race -- --variant 'f16=--bank-dtype f16' --tolerance 0.01 --peers facet,f16,fastapi
  npm run race -- --memory --domains 10,50      memory only: no load, any noise on the machine does
"""


def parser() -> argparse.ArgumentParser:
    make = argparse.ArgumentParser(
        "npm run race --", description=DESCRIPTION, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = make.add_argument_group("what is done")
    what.add_argument("--setup", action="store_true", help="make the peers' virtual environments, and end")
    what.add_argument("--memory", action="store_true", help="measure memory only, each contestant with each number of domains")
    what.add_argument("--mappings", action="store_true", help="with --memory: what it is made of, by the kinds of mappings")
    what.add_argument("--check", action="store_true", help="compare the answers: one short round with 10 domains")

    who = make.add_argument_group("who races")
    usual = [name for name, one in CONTESTANTS.items() if not one.extra]
    more = [name for name, one in CONTESTANTS.items() if one.extra]
    who.add_argument("--peers", default=",".join(usual), help=f"contestants (default: %(default)s; also: {', '.join(more)})")
    who.add_argument("--facet-args", default="", metavar="FLAGS", help="more flags of `facet serve` for the contestant facet")
    who.add_argument(
        "--variant", action="append", default=[], metavar="NAME=FLAGS", help="one more contestant: `facet serve` with these flags"
    )
    who.add_argument(
        "--tolerance",
        type=float,
        default=CONTESTANTS["facet"].tolerance,
        metavar="D",
        help="largest difference of a score of facet and its variants, where no image is resized (default: %(default)s)",
    )
    who.add_argument("--network", default="half", choices=NETWORKS, help="; ".join(f"{name}: {one.what}" for name, one in NETWORKS.items()))
    who.add_argument("--domains", metavar="N,N", help="numbers of domains (default: 10,50 at half width, 10 at full width, 1 of resnet50)")

    how = make.add_argument_group("how long")
    how.add_argument("--rounds", type=int, default=3)
    how.add_argument("--seconds", type=float, default=15, help="measured in each run (default: %(default)s)")
    how.add_argument("--warm", type=float, default=8, help="seconds before (default: %(default)s)")
    how.add_argument("--single", type=float, default=3, help="seconds with one connection; 0: none (default: %(default)s)")
    how.add_argument("--connections", type=int, default=32, help="of the main load (default: %(default)s)")
    how.add_argument("--minutes", type=float, default=60, help="no round begins that would end later (default: %(default)s)")
    how.add_argument("--out", type=Path, default=RESULTS, help="folder of the results (default: %(default)s)")

    torch = make.add_argument_group("where setup finds PyTorch")
    torch.add_argument("--torch-python", metavar="PATH", help="an interpreter that has it (default: this one, then /usr/bin/python3)")
    torch.add_argument("--torch-wheel", metavar="REQUIREMENT", help="a CPU wheel for pip instead")
    return make


def chosen(given: argparse.Namespace) -> dict[str, Contestant]:
    """
    The contestants by name, in the order in which they were named.

    @raise SystemExit: there is none of that name
    """
    ours = replace(CONTESTANTS["facet"], tolerance=given.tolerance)
    known = {**CONTESTANTS, "facet": ours}
    if given.facet_args:
        known["facet"] = with_flags(ours, given.facet_args)
    names = given.peers.split(",")
    for variant in given.variant:
        name, equals, text = variant.partition("=")
        if not equals or name in known:
            raise SystemExit(f"--variant {variant}: give a name that no contestant has, = and flags, as in f16='--bank-dtype f16'")
        known[name] = with_flags(ours, text)
        names += [] if name in names else [name]
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"No contestant is called {', '.join(unknown)}. There are: {', '.join(known)}.")
    return {name: known[name] for name in names}


def with_flags(ours: Contestant, text: str) -> Contestant:
    return replace(ours, what=f"facet serve {text}", command=facet(*shlex.split(text)))


def counts_of(given: argparse.Namespace) -> list[int]:
    if given.domains is None:
        return list(NETWORKS[given.network].domains)
    try:
        counts = [int(text) for text in given.domains.split(",")]
    except ValueError:
        counts = [0]
    if min(counts) < 1:
        raise SystemExit(f"--domains {given.domains}: give whole numbers from 1 on, separated by commas, as in 10,50")
    return counts


def main() -> int:
    given = parser().parse_args()
    if sys.version_info < MINIMUM:
        raise SystemExit(f"Python {'.'.join(map(str, MINIMUM))} or later is needed; this is {sys.version.split()[0]}.")
    if sys.platform != "linux":
        raise SystemExit("The race reads CPU time and memory from /proc, so it runs on Linux only.")
    if given.setup:
        return 0 if setup(given.torch_python, given.torch_wheel) else 1
    if given.check:
        given.rounds, given.seconds, given.warm, given.single = 1, 1.5, 0.5, 1
        given.domains = given.domains or str(min(10, *NETWORKS[given.network].domains))
    lengths = Lengths(given.seconds, given.warm, given.single, given.connections)
    race = Race(chosen(given), given.network, counts_of(given), lengths, given.out)
    race.prepare()
    if given.memory:
        return measure_memory(race, given.mappings)
    report = race.run(given.rounds, given.minutes)
    print(report.table())
    for line in report.errors():
        print(line, file=sys.stderr)
    print(f"\n{race.file}", file=sys.stderr)
    print(json.dumps({"race": report.summary(), "file": str(race.file)}))
    return 1 if report.errors() else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
