"""`python -m tests.fuzz.coverage TARGET RUNS SEED FOLDER`: one target of `decoders`, fed by libFuzzer through atheris.

A process of its own, because libFuzzer ends the process it runs in. The seeds of its corpus are files in the folder;
the last line says how many inputs were run and how many of them accepted.
"""

import os
import sys

import atheris

with atheris.instrument_imports(include=["services", "shared"]):
    from tests.fuzz.decoders import TARGETS


def main(name: str, runs: int, seed: str, folder: str) -> None:
    target, done, accepted = TARGETS[name], 0, 0

    def one(data: bytes) -> None:
        nonlocal done, accepted
        accepted += target(data)
        done += 1
        if done >= runs:
            print(f"{done} {accepted}", flush=True)
            os._exit(0)

    atheris.Setup([sys.argv[0], f"-seed={seed}", "-max_len=4096", "-timeout=20", "-verbosity=0", folder], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4])
