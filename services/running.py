"""`classis run`: one or several services in this process, until SIGTERM or Ctrl-C."""

import argparse
import os
from importlib import import_module

import msgspec

from shared import process
from shared.contract import SERVICES  # in order: the gateway is last in, first out, while the others still answer
from shared.settings import PREFIX, Settings, read, takes, unit

ALL = "all"
HOME = "folder where `classis up` keeps data and logs"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What `classis run` takes."""
    names = [*SERVICES, ALL]
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Runs one or several services in this process until SIGTERM or Ctrl-C."
    parser.epilog = _settings_help()
    parser.add_argument("services", nargs="+", choices=names, metavar="SERVICE", help=", ".join(names))


def main(args: argparse.Namespace) -> int:
    """Runs them, and nothing of the others is loaded. Gives the exit code. Raises SettingsError."""
    chosen = [name for name in SERVICES if name in args.services or ALL in args.services]
    return process.run([(name, import_module(f"services.{name}").running) for name in chosen], read(os.environ))


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
