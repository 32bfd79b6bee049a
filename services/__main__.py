"""The command line."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

import shared
from shared.settings import SettingsError, slips

INTERRUPTED = 130  # what shells give for Ctrl-C
COMMANDS = {  # modules that are loaded when asked for: a service in production has no need of what the others import
    "run": ("run services in this process", "services.running"),
    "up": ("start everything on this machine, with demo data", "services.standalone"),
    "seed": ("load demo data of any size into an empty Prefect database", "services.seed"),
    "subjects": ("print what can be asked on NATS, as docs/subjects.md", "services.subjects"),
    "doctor": ("look at an installation and say what is well and what is not", "services.doctor"),
    "compare": ("ask two servers the same and print where they differ", "services.compare"),
    "openapi": ("print what can be asked by HTTP, as docs/openapi.json", "services.openapi"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """The `classis` command. Gives the exit code."""
    given = sys.argv[1:] if argv is None else list(argv)
    try:
        args = parser(given[0] if given else "").parse_args(given or ["--help"])
        for slip in slips(os.environ):
            print(f"classis: {slip}", file=sys.stderr)  # noqa: T201 — a command talks to its user
        return int(args.command(args) or 0)
    except SettingsError as error:
        print(f"classis: {error}", file=sys.stderr)  # noqa: T201
        return 2
    except KeyboardInterrupt:
        print("classis: interrupted", file=sys.stderr)  # noqa: T201
        return INTERRUPTED


def parser(chosen: str) -> argparse.ArgumentParser:
    """The command line, with the arguments of the chosen command."""
    top = argparse.ArgumentParser(
        "classis",
        description="A read tier for Prefect: answers deployment searches from Prefect's database, many times faster.",
        epilog="New here? `classis up` starts everything, with demo data, and prints a request to try.",
    )
    top.add_argument("--version", action="version", version=f"classis {shared.VERSION}")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, (text, path) in COMMANDS.items():
        made = commands.add_parser(name, help=text)
        if name == chosen:
            module = import_module(path)
            made.description = module.__doc__
            module.arguments(made)
            made.set_defaults(command=module.main)
    return top


if __name__ == "__main__":
    sys.exit(main())
