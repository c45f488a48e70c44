"""A real MLflow server, killed and started again while a service that follows it is under load."""

from __future__ import annotations

from pathlib import Path

import pytest

from hansang.errors import ModelNotFound
from hansang.models.moves import move_alias, read_move
from hansang.models.uri import open_registry
from tests.models.conftest import Server
from tests.models.steps import FAULTS, upload, write_all
from tests.served.load import Load
from tests.served.running import served, until
from tests.served.test_managed import workers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def uploaded(lasting_server: Server, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Versions of `steps` behind the server."""
    if lasting_server.process.poll() is not None:
        lasting_server.start()
    folder = tmp_path_factory.mktemp("upload")
    upload(lasting_server.uri, folder, "steps", write_all(folder / "versions"))


def test_a_server_that_is_killed_costs_no_answer_and_a_move_meanwhile_is_followed_after(
    uploaded: None, server: Server, tmp_path: Path
) -> None:
    registry = open_registry(server.uri)
    with served("models:/steps", tmp_path, registry=server.uri, registry_poll=0.1) as service:
        with Load(service.port, 4) as load:
            move_alias(registry, "steps", "2", why="over HTTP")
            until(lambda: workers(service)[0]["version"] == "2")
            server.end()
            until(lambda: "does not answer" in workers(service)[0]["registry"])
            open_registry(f"sqlite:///{server.folder}/server.db").set_alias("steps", "champion", "3")
            with served("models:/steps", tmp_path, registry=server.uri) as other:
                assert workers(other)[0]["version"] == "2", "the last that was good, from the local copy"
            server.start()
            until(lambda: workers(service)[0]["version"] == "3")
            bad = str(FAULTS["golden"])
            registry.set_alias("steps", "champion", bad)
            until(lambda: workers(service)[0]["refused"])
            assert "golden request 1" in registry.tags("steps", bad)["hansang.refused"]
        assert load.faults == [] and load.answers.keys() == {"1", "2", "3"}
        assert service.metrics("hansang_registry_polls_total")['{model="steps",outcome="unavailable"}'] > 0


def test_aliases_and_tags_are_written_over_http(uploaded: None, server: Server) -> None:
    registry = open_registry(server.uri)
    move = move_alias(registry, "steps", "4", alias="challenger", why="try", who="ann")
    found = registry.registered("steps")
    assert found.aliases["challenger"] == "4" and found.created > 0
    assert read_move(found.tags) == move == read_move(registry.tags("steps", "4"))
    registry.set_tag("steps", "4", "a", "1")
    for _ in range(2):
        registry.delete_tag("steps", "4", "a")
        registry.delete_alias("steps", "challenger")
    assert "a" not in registry.tags("steps", "4") and "challenger" not in registry.registered("steps").aliases
    with pytest.raises(ModelNotFound, match="no model 'nope'"):
        registry.registered("nope")
    with pytest.raises(ModelNotFound, match="has no version 99"):
        registry.tags("steps", "99")
    with pytest.raises(ModelNotFound, match="refused to change 'steps'"):
        registry.set_alias("steps", "challenger", "99")
