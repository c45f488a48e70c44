from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import hansang

HEAVY = ("mlflow", "pandas", "sklearn", "fastapi", "starlette", "pyarrow", "duckdb", "onnxruntime", "PIL", "uvicorn")


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_what_is_public_is_what_can_be_imported() -> None:
    for name in hansang.__all__:
        assert getattr(hansang, name) is not None
    assert dir(hansang) == sorted(hansang.__all__) == sorted(set(hansang.__all__))
    assert len(hansang.__all__) <= 20


def test_every_public_name_comes_from_where_the_package_says() -> None:
    for name, place in hansang._PLACES.items():
        assert getattr(importlib.import_module(place), name) is getattr(hansang, name)
        assert getattr(hansang, name).__doc__


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'hansang' has no attribute 'nope'"):
        hansang.nope  # noqa: B018


def test_star_import_gives_the_public_names() -> None:
    names = run(
        "from hansang import *; print(*sorted(n for n in dir() if n != '__version__' and not n.startswith('__')))"
    )
    assert names.split() == sorted(set(hansang.__all__) - {"__version__"})


def test_importing_hansang_loads_nothing_heavy() -> None:
    loaded = run("import sys, hansang; print(*sys.modules)").split()
    assert set(loaded).isdisjoint({*HEAVY, "numpy", "pydantic"})


def test_a_service_file_loads_nothing_heavy_before_it_is_served() -> None:
    names = "Batch, Model, Service, node"
    code = f"import sys; from hansang import {names}; Service('a', Model('models:/a')); print(*sys.modules)"
    assert set(run(code).split()).isdisjoint(HEAVY)


def test_importing_hansang_is_quick() -> None:
    code = "import time; a = time.process_time(); import hansang; print(time.process_time() - a)"
    assert min(float(run(code)) for _ in range(3)) < 0.2
