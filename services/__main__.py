"""The table of services, and the command line."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

import msgspec

import shared
from services import deployments, flows, gateway, runs, work_pools
from shared import process
from shared.process import Service
from shared.settings import PREFIX, Settings, SettingsError, read, slips, takes, unit

SERVICES: dict[str, Service] = {
    "flows": flows.running,
    "runs": runs.running,
    "work_pools": work_pools.running,
    "deployments": deployments.running,
    "gateway": gateway.running,  # last in, first out: it stops accepting while the others still answer
}
ALL = "all"
INTERRUPTED = 130  # what shells give for Ctrl-C
HOME = "folder where `classis up` keeps data and logs"
COMMANDS = {  # modules that are loaded when asked for: a service in production has no need of what they import
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
    running = commands.add_parser("run", help="run services in this process", formatter_class=Paragraphs)
    _run_arguments(running)
    for name, (text, path) in COMMANDS.items():
        made = commands.add_parser(name, help=text)
        if name == chosen:
            module = import_module(path)
            made.description = module.__doc__
            module.arguments(made)
            made.set_defaults(command=module.main)
    return top


Paragraphs = argparse.RawDescriptionHelpFormatter


def _run_arguments(running: argparse.ArgumentParser) -> None:
    names = [*SERVICES, ALL]
    running.description = "Runs one or several services in this process until SIGTERM or Ctrl-C."
    running.epilog = _settings_help()
    running.add_argument("services", nargs="+", choices=names, metavar="SERVICE", help=", ".join(names))
    running.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    chosen = SERVICES if ALL in args.services else {name: SERVICES[name] for name in SERVICES if name in args.services}
    return process.run(list(chosen.items()), read(os.environ))


def _settings_help() -> str:
    """Every setting, from its declaration."""
    lines = ["environment variables; the default is in brackets, s are seconds:"]
    for field in msgspec.structs.fields(Settings):
        metas = getattr(field.type, "__metadata__", ())
        text = next((meta.description for meta in metas if getattr(meta, "description", None)), "")
        default = f"{_printed(field.default)} {unit(field.name)}".strip()
        values = f"; {takes(field.name)}" if takes(field.name) else ""
        lines.append(f"  {PREFIX + field.name.upper():34} {text} [{default}{values}]")
    return "\n".join([*lines, f"  {PREFIX + 'HOME':34} {HOME}"])


def _printed(default: object) -> object:
    return str(default).lower() if isinstance(default, bool) else "none" if default == "" else default


if __name__ == "__main__":
    sys.exit(main())
