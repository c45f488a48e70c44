from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.nodes.cache.servers import RedisServer, answers, own_server


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that the test may stop."""
    server = own_server(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def redis_url(request: pytest.FixtureRequest) -> str:
    """A Redis that is there: by HANSANG_TEST_REDIS_URL, on its usual port, or started; with keys of one's own."""
    url = os.environ.get("HANSANG_TEST_REDIS_URL") or ("redis://127.0.0.1:6379/0" if answers(6379) else "")
    if not url:
        server: RedisServer = request.getfixturevalue("redis_server")
        url = server.url
    return f"{url}{'&' if '?' in url else '?'}prefix=hansang-test-{uuid4().hex}:"
