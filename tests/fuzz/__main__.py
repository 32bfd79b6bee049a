"""`make fuzz`: all kinds at full size, and the table of what came of it. Exit code 1 if anything was found."""

import argparse
import sys
import traceback
from pathlib import Path
from time import monotonic

from tqdm import tqdm

from tests.fuzz.ground import Ground, ground
from tests.fuzz.kinds import COVERED, READ, SENT, Kind, number
from tests.fuzz.tally import Finding, Tally, table


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser("python -m tests.fuzz", description=__doc__)
    add = made.add_argument
    add("--requests", type=int, default=102_000, metavar="N", help="by HTTP and on the bus (default: %(default)s)")
    add(
        "--inputs",
        type=int,
        default=200_000,
        metavar="N",
        help="to the decoders, by each engine (default: %(default)s)",
    )
    add("--seed", type=int, default=1, metavar="N", help="another number asks other things (default: %(default)s)")
    add("--table", type=Path, metavar="FILE", help="write the table here too")
    add("--only", default="", metavar="TEXT", help="only the kinds with this in their name")
    return made


def main() -> int:
    args = parser().parse_args()
    began = monotonic()
    asked = [(kind, number(kind, args.requests)) for kind in SENT]
    asked += [(kind, number(kind, args.inputs)) for kind in (READ, COVERED)]
    asked = [(kind, size) for kind, size in asked if args.only in kind.name]
    found: list[str] = []
    with ground() as made:
        tallies = [one(made, kind, size, args.seed, found) for kind, size in asked]
        pid = made.fleet.processes["all"].pid
    sent = sum(tally.requests for tally in tallies if not tally.kind.startswith("decoders"))
    text = table(tallies)
    said = (
        f"{sent} requests to one fleet process ({pid}), which lived on; {monotonic() - began:.0f} s, seed {args.seed}"
    )
    print(f"\n{text}\n{said}")
    if args.table:
        args.table.write_text(f"{text}\n{said}\n")
    for each in found:
        print(f"\n{each}", file=sys.stderr)
    return 1 if found else 0


def one(made: Ground, kind: Kind, size: int, seed: int, found: list[str]) -> Tally:
    """One row of the table; what is found is told at the end."""
    with tqdm(total=size, desc=f"{kind.name:24}", unit="", unit_scale=True, dynamic_ncols=True) as bar:
        tally = Tally(kind.name, progress=bar.update)
        try:
            kind.run(made, tally, size, seed)
            made.check()
        except (Finding, ExceptionGroup) as error:
            found.append("".join(traceback.format_exception(error)))
            bar.write(f"{kind.name}: {error}"[:500])
    return tally


if __name__ == "__main__":
    sys.exit(main())
