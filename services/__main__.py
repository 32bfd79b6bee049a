"""The table of services, and the command line."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from services import deployments, flows, gateway, runs, seed, standalone, subjects, work_pools
from shared import process
from shared.process import Service
from shared.settings import PREFIX, Settings, SettingsError, read

SERVICES: dict[str, Service] = {
    "flows": flows.running,
    "runs": runs.running,
    "work_pools": work_pools.running,
    "deployments": deployments.running,
    "gateway": gateway.running,  # last in, first out: it stops accepting while the others still answer
}
ALL = "all"


def main(argv: Sequence[str] | None = None) -> int:
    """The `classis` command. Gives the exit code."""
    args = parser().parse_args(argv)
    try:
        return int(args.command(args) or 0)
    except SettingsError as error:
        print(f"classis: {error}", file=sys.stderr)  # noqa: T201
        return 2


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        "classis",
        description="A read tier for Prefect: answers deployment searches from Prefect's database, many times faster.",
        epilog="New here? `classis up` starts everything, with demo data, and prints a request to try.",
    )
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _command(commands, "up", "start everything on this machine, with demo data", standalone)
    _command(commands, "seed", "load demo data of any size into an empty Prefect database", seed)
    _command(commands, "subjects", "print what can be asked on NATS, as docs/subjects.md", subjects)
    running = commands.add_parser(
        "run",
        help="run services in this process",
        description="Runs one or several services in this process until SIGTERM or Ctrl-C.",
        epilog=_settings_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    running.add_argument(
        "services", nargs="+", choices=[*SERVICES, ALL], metavar="SERVICE", help=", ".join([*SERVICES, ALL])
    )
    running.set_defaults(command=run)
    return top


def _command(commands: Any, name: str, text: str, module: Any) -> None:
    described = {"help": text, "description": module.__doc__}
    made = commands.add_parser(name, formatter_class=argparse.RawDescriptionHelpFormatter, **described)
    module.arguments(made)
    made.set_defaults(command=module.main)


def run(args: argparse.Namespace) -> None:
    chosen = SERVICES if ALL in args.services else {name: SERVICES[name] for name in SERVICES if name in args.services}
    process.run(list(chosen.items()), read(os.environ))


def _settings_help() -> str:
    """Every setting, from its declaration."""
    lines = ["environment variables:"]
    for field in msgspec.structs.fields(Settings):
        metas = getattr(field.type, "__metadata__", ())
        text = next((meta.description for meta in metas if getattr(meta, "description", None)), "")
        default = field.default if field.default != "" else "none"
        lines.append(f"  {PREFIX + field.name.upper():34} {text} [{default}]")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
