"""The process that delivers, at the tests' own priority.

python -m tests.record.sinks.owner FOLDER
"""

import sys
from pathlib import Path

from hansang.record.sinks.deliver import run, take_place

if __name__ == "__main__":
    take_place(Path(sys.argv[1]))
    run(Path(sys.argv[1]))
