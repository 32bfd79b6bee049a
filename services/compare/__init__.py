"""`classis compare`: asks two servers the same, and prints where they differ."""

import argparse
import asyncio
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path

from yarl import URL

from services.compare import server, stories
from services.compare.generate import Generator
from services.compare.replay import Done, Tally, Tell, replay, summary
from services.compare.requests import Request, generated, recorded
from services.compare.server import Server, Unreachable

try:
    from tqdm import tqdm
except ImportError:  # an image that runs services has none
    tqdm = None  # type: ignore[assignment,misc]

GENERATED = 200
STOPPED = 130  # the exit code of who is stopped by Ctrl-C


def arguments(parser: argparse.ArgumentParser) -> None:
    """What `classis compare` takes."""
    parser.formatter_class = argparse.HelpFormatter  # it fills lines
    parser.description = (
        "Send the same deployment searches to two servers, Prefect's own or gateways of Classis, and print where their "
        "answers differ: the search, and the first place that differs with both values. Answers are compared by status "
        "and JSON value; refusals by status and the place and type of each error. Rows that are equal under the sort "
        "may stand in any order, as Prefect promises none. A difference is told when it stays while both are asked "
        "again; one that does not is counted as moved, because the data did."
    )
    parser.epilog = (
        "The searches are those that a gateway added to the file CLASSIS_RECORD, which may hold names and whatever "
        "else people searched for; and searches made by chance about the data of the first server. Nothing is "
        "changed: only reads are sent. Exit code 0: all alike; 1: there were differences, or searches that neither "
        "server answered, or that a gateway's upstream answered in place of its fleet; 2: it could not be tried; "
        "130: it was stopped."
    )
    add = parser.add_argument
    add("urls", nargs=2, type=_url, metavar="URL", help="a server, http://host:port")
    add("--requests", metavar="FILE", help="recorded searches to send; - is standard input")
    text = f"how many searches to make by chance (default: {GENERATED} without --requests, else none)"
    add("--generated", type=_count, metavar="N", help=text)
    add("--seed", type=int, default=1, metavar="S", help="another number makes other searches (default: %(default)s)")
    text = "user:password for both servers; better put it in CLASSIS_API_AUTH_STRING, which no list of processes shows"
    add("--auth", default=os.environ.get("CLASSIS_API_AUTH_STRING", ""), metavar="U:P", help=text)
    add("--concurrency", type=_positive, default=4, metavar="C", help="searches at a time (default: %(default)s)")
    text = "differences to print; all are counted (default: %(default)s)"
    add("--limit", type=_count, default=20, metavar="DIFFERENCES", help=text)


def main(args: argparse.Namespace) -> int:
    """Compares; gives the exit code."""
    code = 2
    try:
        return asyncio.run(_main(args, _read(args.requests) if args.requests else []))
    except* (Unreachable, OSError) as problems:
        _say(f"classis compare: {_innermost(problems)}")
    except* KeyboardInterrupt:
        _say("classis compare: stopped")
        code = STOPPED
    return code


async def _main(args: argparse.Namespace, requests: list[Request]) -> int:
    wanted = (0 if args.requests else GENERATED) if args.generated is None else args.generated
    one, other = args.urls
    async with server.opened(one, args.auth) as first, server.opened(other, args.auth) as second:
        if wanted:
            requests += generated(Generator(args.seed, await stories.told(first)), wanted)
        tally = await _replayed((first, second), requests, args)
        for line in summary(tally, (first, second)):
            print(line)  # noqa: T201 — a command talks to its user
    return 0 if tally.agrees and not any(server.strangers for server in (first, second)) else 1


async def _replayed(servers: Sequence[Server], requests: list[Request], args: argparse.Namespace) -> Tally:
    with _progress(len(requests)) as (tell, done):
        tally = Tally(args.limit, tell)
        await replay(servers, requests, args.concurrency, tally, done)
    return tally


def _read(name: str) -> list[Request]:
    """The recorded requests. Raises OSError when there is no such file."""
    lines = (sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()).splitlines()
    found = list(recorded(line for line in lines if line.strip()))
    if odd := found.count(None):
        _say(f"{odd} lines are no requests for deployments and are left out")
    return [request for request in found if request]


@contextmanager
def _progress(total: int) -> Iterator[tuple[Tell, Done]]:
    """What prints a text above the bar, and what counts one more as done. A bar for people, a few lines else."""
    if tqdm is not None and sys.stderr.isatty():
        with tqdm(total=total, desc="comparing", unit="req", dynamic_ncols=True) as bar:
            yield partial(tqdm.write, file=sys.stdout), bar.update
        return
    numbers = count(1)

    def done() -> None:
        number = next(numbers)
        if number % max(1, total // 10) == 0:
            _say(f"compared: {number:,} of {total:,}")

    yield print, done


def _innermost(error: BaseException) -> BaseException:
    return _innermost(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def _url(text: str) -> URL:
    url = URL(text)
    if url.scheme not in {"http", "https"} or not url.host:
        raise argparse.ArgumentTypeError(f"takes http://host:port, not {text}")
    return url


def _count(text: str) -> int:
    if (number := int(text)) < 0:
        raise ValueError(text)
    return number


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError(text)
    return number


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201
