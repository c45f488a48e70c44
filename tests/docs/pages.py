"""The README and the pages of `docs/`: their fenced blocks, and how each kind is run."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import tomllib
import types
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from hansang.record.read import connect, query

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BIN = Path(sys.executable).parent
FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=indent)```[ ]*$", re.MULTILINE | re.DOTALL)
OUTPUTS = ("text", "json", "http")
KINDS = ("python", "sh", "sql", "toml", "ini", "yaml", *OUTPUTS)
OTHERS = {"dependencies.md", "benchmarks.md"}
VOLATILE = {"latency_ms", "queue_ms", "digest", "run_id", "model_id", "id", "request_id", "time", "hour"}
IDS = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
DATES = re.compile(r"\d{4}-\d{2}-\d{2}[T ][0-9:.]+Z?|\w{3}, \d{2} \w{3} \d{4} [0-9:]+ GMT")
NUMBERS = re.compile(r"\b\d+(\.\d+)?(e-?\d+)?(?= ms\b| s\b| rows/s)|\b\d+\.\d+(e-?\d+)?")


@dataclass(frozen=True)
class Block:
    """One fenced block; `follows` says that nothing stands between it and the block before."""

    kind: str
    title: str
    body: str
    line: int
    follows: bool


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted(path for path in DOCS.rglob("*.md") if path.name not in OTHERS)]


def blocks(path: Path) -> list[Block]:
    text = path.read_text("utf-8")
    found = []
    end = 0
    for match in FENCE.finditer(text):
        kind, _, rest = match["info"].strip().partition(" ")
        title = re.search(r'title="([^"]*)"', rest)
        body = "\n".join(line.removeprefix(match["indent"]) for line in match["body"].splitlines()) + "\n"
        follows = not text[end : match.start()].strip()
        found.append(Block(kind, title[1] if title else "", body, text.count("\n", 0, match.start()) + 1, follows))
        end = match.end()
    return found


def environment() -> dict[str, str]:
    """Give an environment in which nothing but the page says what is set."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HANSANG_", "MLFLOW_"))}
    path = f"{BIN}{os.pathsep}{kept.get('PATH', '')}"
    return kept | {"PATH": path, "COLUMNS": "160", "no_proxy": "*", "MLFLOW_DISABLE_TELEMETRY": "true"}


@dataclass
class Page:
    """A page that is being run, in a folder of its own."""

    path: Path
    folder: Path
    module: types.ModuleType = field(default_factory=lambda: types.ModuleType("page"))
    server: subprocess.Popen[bytes] | None = None
    ending: list[subprocess.Popen[bytes]] = field(default_factory=list)
    port: int = 0
    output: str = ""

    def run(self) -> None:
        """Run every block in its order; an output block right after another is compared with what that one gave."""
        for block in blocks(self.path):
            try:
                self.step(block)
            except BaseException as error:
                error.add_note(f"{self.path.relative_to(ROOT)}, block at line {block.line}")
                raise

    def step(self, block: Block) -> None:
        assert block.kind in KINDS, f"a fence of kind {block.kind!r}; expected one of {', '.join(KINDS)}"
        if block.title:
            self.write(block)
        elif block.kind == "python":
            self.python(block)
        elif block.kind == "sh":
            self.output = "".join(self.command(command) for command in commands(block.body))
        elif block.kind == "sql":
            self.output = self.sql(block.body)
        elif block.kind in OUTPUTS and block.follows:
            compare(block, self.output)

    def write(self, block: Block) -> None:
        file = self.folder / block.title
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.body, "utf-8")
        if block.kind == "toml":
            tomllib.loads(block.body)
        if block.kind == "python":
            compile(block.body, block.title, "exec")

    def python(self, block: Block) -> None:
        code = compile("\n" * block.line + block.body, str(self.path), "exec")
        out = io.StringIO()
        with warnings.catch_warnings(), contextlib.redirect_stdout(out):
            warnings.simplefilter("ignore")
            exec(code, vars(self.module))
        self.output = out.getvalue()

    def sql(self, text: str) -> str:
        table = query(connect(self.folder / ".hansang/records"), text)
        assert table.num_rows, f"no rows for {text}"
        return "\n".join(str(row) for row in table.to_pylist())

    # --- shell ---

    def command(self, command: str) -> str:
        words = shlex.split(command, comments=True)
        if not words:
            return ""
        if words[0] == "make":
            assert f"\n{words[1]}:" in (ROOT / "Makefile").read_text(), f"the Makefile has no target {words[1]}"
            return ""
        if words[0] == "pip":
            check_extras(command)
            return ""
        if ("serve" in words or words[0] == "uvicorn") and "# status" not in command:
            return self.serve(words)
        return self.shell(command)

    def shell(self, command: str) -> str:
        self.wait_for_record(command)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", re.sub(r":8000\b", f":{self.port}", command)],
            cwd=self.folder,
            env=environment() | {"HANSANG_PORT": "0"},  # a start that must fail is not to fail for a port in use
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        said = re.search(r"# status (\d)$", command.strip())
        expected = int(said[1]) if said else 0
        assert done.returncode == expected, f"{command}\n{done.stdout}{done.stderr}"
        text = (done.stdout + (done.stderr if expected else "")).replace(f":{self.port}", ":8000")
        return text.replace("\r\n", "\n") + ("" if text.endswith("\n") else "\n")

    def wait_for_record(self, command: str) -> None:
        """An answer that arrived is in the record; nothing to wait for but the folder of a first one."""
        if " records " in command:
            assert (self.folder / ".hansang/records").is_dir()

    def serve(self, words: list[str]) -> str:
        """Start a server on a free port and give what it says when it is ready."""
        self.stop()
        log = self.folder / "server.log"
        with log.open("wb") as out:
            self.server = subprocess.Popen(
                [BIN / words[0], *words[1:], "--port", "0"],
                cwd=self.folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        until = time.monotonic() + 30
        while not self.ready(log.read_text()):
            assert self.server.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.03)
        return log.read_text().replace(f":{self.port}", ":8000")

    def ready(self, said: str) -> bool:
        """Look whether the server that said this answers; the port is the one that it says it took."""
        port = re.search(r"http://127\.0\.0\.1:(\d+)", said)
        if port is None:
            return False
        self.port = int(port[1])
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as error:
            return error.code == 404  # the application of a page that mounts a service elsewhere
        except OSError:
            return False

    def stop(self) -> None:
        if self.server is not None:
            self.server.terminate()
            self.ending.append(self.server)
            self.server = None

    def close(self) -> None:
        """Wait for every server of the page; each drained while the next one started."""
        self.stop()
        for server in self.ending:
            assert server.wait(30) in (0, -signal.SIGTERM)


def commands(body: str) -> Iterator[str]:
    """Cut a block into commands: a line, with what continues it (a backslash, or a quote that is still open)."""
    command = ""
    for line in body.splitlines():
        command += line + "\n"
        try:
            shlex.split(command, comments=True)
        except ValueError:
            continue
        if not line.endswith("\\"):
            yield command
            command = ""
    assert not command.strip(), f"a command that does not end: {command}"


def check_extras(command: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extras in re.findall(r"hansang\[([a-z0-9,]+)\]", command):
        assert set(extras.split(",")) <= set(project["optional-dependencies"]), command


# --- comparing ---


def compare(block: Block, got: str) -> None:
    """Compare shown output with real output, up to ids, dates and durations; `…` stands for anything."""
    if block.kind == "json":
        same_json(json.loads(block.body), json.loads(got), got)
    elif block.kind == "http":
        shown_head, _, shown_body = block.body.partition("\n\n")
        head, _, body = got.partition("\n\n")
        assert settled(shown_head) == settled(head), f"expected\n{shown_head}\ngot\n{head}"
        if shown_body.strip():
            same_json(json.loads(shown_body), json.loads(body), got)
    else:
        shown, real = settled(block.body), settled(got)
        pattern = ".*".join(re.escape(part) for part in shown.split("…"))
        assert re.fullmatch(pattern, real, re.DOTALL), f"expected\n{block.body}\ngot\n{got}"


def settled(text: str) -> str:
    """Replace what differs from run to run, and the white space of tables."""
    text = re.sub(r"(?m)^content-length: \d+$", "content-length: N", text)
    for pattern, word in ((IDS, "ID"), (DATES, "DATE"), (NUMBERS, "N")):
        text = pattern.sub(word, text)
    return "\n".join(" ".join(line.split()) for line in text.strip().splitlines())


def same_json(shown: Any, got: Any, text: str, place: str = "") -> None:
    """Compare values; numbers to a thousandth, and what stands under a volatile name not at all."""
    where = f"at {place or 'the top'} of\n{text}"
    if isinstance(shown, dict) and isinstance(got, dict):
        assert list(shown) == list(got), f"{list(shown)} is not {list(got)} {where}"
        for name, value in shown.items():
            if name not in VOLATILE:
                same_json(value, got[name], text, f"{place}.{name}")
    elif isinstance(shown, list) and isinstance(got, list):
        for number, (one, other) in enumerate(zip_longest(shown, got)):
            same_json(one, other, text, f"{place}[{number}]")
    elif isinstance(shown, float) and isinstance(got, float):
        assert math.isclose(shown, got, rel_tol=1e-3), f"{shown} is not {got} {where}"
    elif isinstance(shown, str) and isinstance(got, str):
        assert settled(shown) == settled(got), f"{shown!r} is not {got!r} {where}"
    else:
        assert shown == got, f"{shown!r} is not {got!r} {where}"
