"""Prefect's own programs, as their users run them: with the address of an API, and nothing else that leads to a server."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conformance import oracle

SCRIPTS = Path(__file__).parent / "scripts"
WITHIN = 60.0  # seconds, for a program that ends by itself
NO_INTERNET = {"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}  # nobody listens at that port
SETTINGS = {
    **NO_INTERNET,
    "PREFECT_CLI_COLORS": "false",
    "PREFECT_CLI_PROMPT": "false",
    "PREFECT_RUNNER_POLL_FREQUENCY": "1",
    "PYTHONUNBUFFERED": "1",
    "COLUMNS": "400",
}


@dataclass
class Prefect:
    """A user's machine: a folder for its files, and the API that its programs are told of."""

    home: Path
    url: str
    settings: Mapping[str, str] = field(default_factory=dict)

    def cli(self, *words: str) -> str:
        """What `prefect …` prints. It has to succeed."""
        return self._printed("prefect", *words)

    def script(self, name: str, *words: str, given: object = None) -> Any:
        """What a script of ours prints as JSON; it reads `given` as JSON."""
        return json.loads(self._printed("python", str(SCRIPTS / name), *words, given=json.dumps(given)))

    def _printed(self, program: str, *words: str, given: str = "") -> str:
        done = subprocess.run(
            self._command(program, words),
            env=self._environment(),
            cwd=self.home,
            input=given,
            capture_output=True,
            text=True,
            timeout=WITHIN,
            check=False,
        )
        assert done.returncode == 0, f"{program} {' '.join(words)}: {done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    @contextmanager
    def running(self, log: Path, program: str, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        """A program that ends with the block at the latest, with all that it started."""
        with log.open("wb") as output:
            process = subprocess.Popen(
                self._command(program, words),
                env=self._environment(),
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            oracle.end(process)

    def _command(self, program: str, words: tuple[str, ...]) -> list[str]:
        return [str(oracle.oracle_prefix() / "bin" / program), *words]

    def _environment(self) -> dict[str, str]:
        told = {"PREFECT_API_URL": f"{self.url}/api", **SETTINGS, **self.settings}
        return oracle.environment(oracle.oracle_prefix(), self.home) | told
