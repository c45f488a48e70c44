"""The command `hansang`: one group of commands a file, thin."""

from hansang.cli.main import main

__all__ = ["main"]
