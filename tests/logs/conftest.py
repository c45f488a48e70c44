from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest

from hansang.logs.config import CONFIG, LEVEL


@pytest.fixture
def own_logging() -> Iterator[None]:
    """Let a test set up logging, and bring back what was there: handlers, levels, warnings, environment."""
    known = [logging.getLogger(), *map(logging.getLogger, list(logging.root.manager.loggerDict))]
    before = [(logger, logger.level, logger.handlers[:], logger.propagate, logger.disabled) for logger in known]
    environment = {name: os.environ.pop(name, None) for name in (CONFIG, LEVEL)}
    yield
    logging.captureWarnings(False)
    for logger in [logging.getLogger(), *map(logging.getLogger, list(logging.root.manager.loggerDict))]:
        for handler in logger.handlers:
            if not any(handler in handlers for _, _, handlers, _, _ in before):
                handler.close()
        logger.handlers[:] = []
        logger.setLevel(logging.NOTSET)
        logger.propagate = True
    for logger, level, handlers, propagate, disabled in before:
        logger.setLevel(level)
        logger.handlers[:], logger.propagate, logger.disabled = handlers, propagate, disabled
    for name, value in environment.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
