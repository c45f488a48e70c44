"""One virtual environment per peer, under `.bench/<name>`, made once and kept.

The versions of what reads the models (scikit-learn, ONNX Runtime, numpy, joblib) are pinned to the project's own, so
that every peer runs the same arithmetic. A peer whose packages do not go together says so in the report; it is not
dropped.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / ".bench"
PINNED = ("scikit-learn", "onnxruntime", "numpy", "joblib", "mlflow", "onnx")
INSTALL_SECONDS = 900


class InstallFailedError(Exception):
    """The peer's packages could not be installed; the text is the installer's last lines."""


def python_of(name: str) -> Path:
    """Return the interpreter of an environment; `project` is the checkout's own."""
    return ROOT / ".venv" / "bin" / "python" if name == "project" else BENCH / name / "bin" / "python"


def pins() -> list[str]:
    """Return `name==version` for each package that must agree between the environments."""
    found = []
    for name in PINNED:
        try:
            found.append(f"{name}=={version(name)}")
        except PackageNotFoundError:
            continue
    return found


def prepare(name: str, packages: Sequence[str]) -> None:
    """Make the environment if it is missing or was made for other packages."""
    if name == "project" or not packages:
        return
    pinned = {pin.split("==")[0]: pin for pin in pins()}
    wanted = [pinned.get(package, package) for package in packages]
    stamp = BENCH / name / "packages.txt"
    if stamp.exists() and stamp.read_text() == "\n".join(wanted):
        return
    print(f"installing {name}: {', '.join(wanted)}", file=sys.stderr, flush=True)
    shutil.rmtree(BENCH / name, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(BENCH / name)])
    _run([*_installer(), "--python", str(python_of(name)), *wanted])
    stamp.write_text("\n".join(wanted))


def versions(name: str, packages: Sequence[str]) -> dict[str, str]:
    """Return the installed version of each package, asked of the environment itself."""
    bare = [package.partition("[")[0].partition("=")[0].partition("<")[0] for package in packages]
    code = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    ran = subprocess.run([python_of(name), "-c", code, *bare], capture_output=True, text=True, timeout=60, check=True)
    return dict(zip(bare, ran.stdout.split(), strict=True))


def _installer() -> list[str]:
    tool = BENCH / "installer" / "bin" / "uv"
    if not tool.exists():
        _run([sys.executable, "-m", "venv", str(BENCH / "installer")])
        _run([str(BENCH / "installer" / "bin" / "pip"), "install", "--quiet", "uv"])
    return [str(tool), "pip", "install", "--quiet"]


def _run(command: list[str]) -> None:
    niced = [*(["nice", "-n", "15"] if shutil.which("nice") else []), *command]
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    ran = subprocess.run(
        niced, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False, env=environment, cwd=ROOT
    )
    if ran.returncode != 0:
        raise InstallFailedError("\n".join((ran.stderr or ran.stdout).strip().splitlines()[-3:]))
