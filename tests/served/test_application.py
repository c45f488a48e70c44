"""The service as FastAPI's users expect it, over a real socket."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jsonschema_rs
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31

from tests.served.running import SERVICES, Server, environment, served, until
from tests.served.wire import assert_problem, get, request


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("application")
    (folder / ".env").write_text("SHOP_FACTOR=3\n")
    with served("shop.py", folder) as server:
        yield server


def test_the_users_settings_are_read_from_the_environment_file(server: Server) -> None:
    assert server.ask(request('{"x":2}')).json() == {"price": 6.0}


def test_the_answer_holds_what_the_schema_says_and_nothing_else(server: Server) -> None:
    assert server.ask(request('[{"x":1},{"x":2}]')).body == b'[{"price":3.0},{"price":6.0}]'


def test_fields_come_from_path_query_header_cookie_and_body(server: Server) -> None:
    with server.client() as client:
        answer = client.post(
            "/shops/seoul/describe?x=1.5&color=blue",
            headers={"x-user": "ann", "cookie": "visits=7"},
            json={"amount": 4, "note": "hi"},
        )
        assert answer.json() == {
            "shop": "seoul", "x": 1.5, "color": "blue", "x_user": "ann", "visits": 7, "amount": 4, "note": "hi",
        }  # fmt: skip
        assert len(answer.headers["x-prediction-id"]) == 36
        defaults = client.post("/shops/jeju/describe?x=0", json={}).json()
    assert defaults == {
        "shop": "jeju", "x": 0.0, "color": "red", "x_user": None, "visits": 0, "amount": 1, "note": "",
    }  # fmt: skip


def test_fields_that_do_not_fit_say_where_they_stand(server: Server) -> None:
    answer = server.ask(request('{"amount":"secret-input"}', path="/shops/seoul/describe?x=-1&color=green"))
    errors = {tuple(error["loc"]): error["type"] for error in assert_problem(answer, 422)["errors"]}
    assert errors[("query", "x")] == "greater_than_equal"
    assert errors[("query", "color")] == "literal_error"
    assert errors[("body", "amount")] == "int_parsing"
    assert b"secret-input" not in answer.body
    assert_problem(server.ask(request("{", path="/shops/seoul/describe?x=1")), 400)


def test_fields_come_from_a_form(server: Server) -> None:
    with server.client() as client:
        assert client.post("/form", data={"x": "1.5", "y": "2"}).json() == {"price": 3.5}
        assert client.post("/form", data={"x": "1.5"}).json() == {"price": 2.0}
        answer = client.post("/form", data={"x": "much"})
    assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["body", "x"])


def test_a_function_may_give_several_rows(server: Server) -> None:
    with server.client() as client:
        answer = client.post("/several?x=1&x=2&x=3")
        assert answer.json() == [{"price": 3.0}, {"price": 6.0}, {"price": 9.0}]
        assert client.post("/several").status_code == 422


def test_several_files_are_several_rows(server: Server) -> None:
    with server.client() as client:
        files = [("data", ("a.bin", b"12345")), ("data", ("b.bin", b"1234567"))]
        answer = client.post("/files", files=files, data={"label": "pair", "weight": "0.5"})
        assert answer.json() == [
            {"bytes": 5, "label": "pair", "weight": 0.5},
            {"bytes": 7, "label": "pair", "weight": 0.5},
        ]
        one = client.post("/files", files={"data": b"123"})
        assert one.json() == {"bytes": 3, "label": "", "weight": 1.0}
        raw = client.post("/files", content=b"12", headers={"content-type": "application/octet-stream"})
        assert raw.json() == {"bytes": 2, "label": "", "weight": 1.0}
        inline = client.post("/files", json=[{"data": "MTIz", "label": "b64"}, {"data": "?"}])
        assert (inline.status_code, inline.json()[0]["bytes"]) == (207, 3)
        assert client.post("/files", data={"label": "none"}).json()["errors"][0]["loc"] == ["data"]
        wrong = client.post("/files", files=files, data={"weight": "heavy"})
        assert (wrong.status_code, wrong.json()["errors"][0]["loc"]) == (422, [0, "weight"])
        torn = client.post(
            "/files", content=b"--x\r\nnothing", headers={"content-type": "multipart/form-data; boundary=x"}
        )
        assert torn.status_code in (400, 422)
        nameless = client.post("/files", content=b"", headers={"content-type": "multipart/form-data"})
        assert (nameless.status_code, nameless.headers["content-type"]) == (400, "application/problem+json")


def test_a_dependency_that_refuses_refuses_predictions(server: Server) -> None:
    answer = server.ask(request('{"x":1}', path="/guarded"))
    assert assert_problem(answer, 401)["detail"] == "the key is wrong"
    assert answer.headers["www-authenticate"] == "Key"
    assert server.ask(request('{"x":1}', "x-key: open sesame", path="/guarded")).json() == {"price": 3.0}
    assert server.ask(request('[{"x":1},{"x":2}]', "x-key: open sesame", path="/guarded")).status == 200


def test_the_users_own_routes_background_tasks_and_files_are_served(server: Server) -> None:
    server.ask(request(b"", path="/own/background"))
    until(lambda: server.ask(request(b"", path="/own/background")).json()["events"].startswith("done"))
    assert b"Prices things" in server.ask(get("/static/shop.py")).body
    assert_problem(server.ask(get("/static/none.py")), 404)
    assert_problem(server.ask(get("/own/gone")), 500)
    assert assert_problem(server.ask(get("/own/typed?number=x")), 422)["errors"][0]["loc"] == ["query", "number"]


def test_metadata_says_what_is_served(server: Server) -> None:
    metadata = server.get("/metadata").json()
    assert (metadata["name"], metadata["version"], metadata["owner"]) == ("shop", "3", "the shop team")
    assert {model["name"] for model in metadata["models"]} == {"price", "several", "guarded"}
    first = metadata["endpoints"][0]
    assert (first["path"], first["example"], first["models"]) == ("/predict", {"x": 1.5}, ["price"])
    assert "x" in first["input"]["properties"]
    assert "price" in first["output"]["properties"]


def test_the_pages_stand_on_their_own(server: Server) -> None:
    for path in ("/docs", "/redoc"):
        page = server.get(path)
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        for address in re.findall(r'(?:src|href)="([^"]+)"', page.text):
            assert not address.startswith("http"), "the pages work without the internet"
            if not address.startswith("data:"):
                assert server.get(address).status_code == 200


def test_the_document_is_openapi_and_says_what_the_schemas_say(server: Server) -> None:
    document = server.get("/openapi.json").json()
    faults = [error.message for error in jsonschema_rs.validator_for(OPENAPI_31).iter_errors(document)]
    assert not faults
    assert document["info"]["title"] == "shop"
    rows = document["components"]["schemas"]
    assert rows["Row"]["properties"]["x"]["description"] == "How much of it."
    assert rows["Price"]["properties"]["price"]["description"] == "What it costs."
    operations = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(operations) == len(set(operations))
    guarded = document["paths"]["/guarded"]["post"]
    assert guarded["security"] == [{"APIKeyHeader": []}]
    assert "requestBody" in guarded
    for path in ("/predict", "/guarded", "/files", "/form", "/shops/{shop}/describe"):
        responses = document["paths"][path]["post"]["responses"]
        assert {"200", "400", "422", "500", "503", "504"} <= responses.keys()
        assert "application/problem+json" in responses["422"]["content"]
    files = document["paths"]["/files"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert files["properties"]["data"]["items"] == {"type": "string", "format": "binary"}
    for pointer in set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document))):
        assert pointer in rows


def series(text: str) -> dict[str, float]:
    """Read Prometheus' text format as strictly as promtool does."""
    found: dict[str, float] = {}
    kinds: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in kinds, f"{name} is declared twice"
            kinds[name] = kind
        elif not line.startswith("#"):
            match = re.fullmatch(r"([a-zA-Z_:][\w:]*)(\{(?:\w+=\"(?:[^\"\\]|\\.)*\",?)*\})? (\S+)", line)
            assert match, line
            name = match[1]
            base = re.sub(r"_(bucket|count|sum)$", "", name)
            assert kinds.get(base) in ("histogram", "summary") or name in kinds, name
            assert not (kinds.get(name) == "counter" and not name.endswith("_total")), name
            key = name + (match[2] or "")
            assert key not in found, f"{key} twice"
            found[key] = float(match[3])
    return found


def test_metrics_are_in_the_format_of_prometheus_and_count_what_was_asked(tmp_path: Path) -> None:
    with served("shop.py", tmp_path) as server:
        for body in ['{"x":1}'] * 5 + ['{"x":"no"}'] * 3 + ['[{"x":1},{"x":2}]'] + ["{"] * 2:
            server.ask(request(body))
        text = server.get("/metrics")
        assert text.headers["content-type"].startswith("text/plain; version=0.0.4")
        found = series(text.text)
        assert found['hansang_rows_total{endpoint="predict",status="200"}'] == 7
        assert found['hansang_rows_total{endpoint="predict",status="422"}'] == 3
        assert found['hansang_rows_total{endpoint="predict",status="400"}'] == 2
        assert found["hansang_rows_in_flight"] == 0
        assert found["hansang_record_rows_total"] == 10
        buckets = [
            value
            for name, value in found.items()
            if name.startswith("hansang_request_seconds_bucket") and "predict" in name
        ]
        assert buckets == sorted(buckets)
        assert buckets[-1] == found['hansang_request_seconds_count{endpoint="predict"}'] == 9
        assert any(name.startswith("process_") for name in found)


def test_metrics_of_two_workers_add_up(tmp_path: Path) -> None:
    with served("shop.py", tmp_path, workers=2) as server:
        until(lambda: len(server.children()) == 2)
        for _ in range(60):
            assert server.ask(request('{"x":1}')).status == 200
        for _ in range(10):
            found = series(server.get("/metrics").text)
            assert found['hansang_rows_total{endpoint="predict",status="200"}'] == 60
        until(lambda: series(server.get("/metrics").text)["hansang_record_rows_total"] == 60)


def test_resources_are_entered_in_order_and_left_in_the_opposite_one(tmp_path: Path) -> None:
    with served("shop.py", tmp_path) as server:
        assert server.stop() == 0
        assert server.process.stdout is not None
        lines = server.process.stdout.read().split("\n")
    assert [line for line in lines if line.startswith("leave")] == ["leave second", "leave first"]


def test_middleware_and_handlers_see_predictions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WITH_MIDDLEWARE", "1")
    monkeypatch.setenv("WITH_HANDLER", "1")
    with served("shop.py", tmp_path) as server:
        answer = server.ask(request('{"x":1}'))
        assert (answer.json(), answer.headers["x-stamp"]) == ({"price": 2.0}, "/predict")
        assert len(answer.headers["x-prediction-id"]) == 36
        assert assert_problem(server.ask(request('{"x":"no"}')), 422)["errors"][0]["loc"] == ["x"]
        gone = server.ask(get("/own/gone"))
        assert (gone.status, gone.json()) == (410, {"gone": True})
        with server.wire() as wire:
            wire.send(request('{"x":1}') * 3)
            assert [wire.answer().status for _ in range(3)] == [200, 200, 200]
    assert "its predictions go through ASGI" in server.log.read_text()


def test_a_service_mounts_under_another_application(tmp_path: Path) -> None:
    text = (
        "import sys, warnings; sys.path.insert(0, {folder!r})\n"
        "from fastapi import FastAPI\nwarnings.simplefilter('ignore')\nfrom fastapi.testclient import TestClient\n"
        "from shop import service\n"
        "outer = FastAPI(lifespan=service.lifespan)\nouter.mount('/ml', service.app)\n"
        "bare = FastAPI()\nbare.mount('/ml', service.app)\n"
        "unstarted = TestClient(bare).post('/ml/predict', json=dict(x=1))\n"
        "assert unstarted.status_code == 503 and 'lifespan=service.lifespan' in unstarted.json()['detail']\n"
        "with TestClient(outer) as client:\n"
        "    assert client.post('/ml/predict', json=dict(x=1)).json() == dict(price=2.0)\n"
        "    assert client.get('/ml/readyz').json()['ready']\n"
        "    assert client.post('/ml/guarded', json=dict(x=1)).status_code == 401\n"
        "    assert '/predict' in client.get('/ml/openapi.json').json()['paths']\n"
        "with TestClient(outer) as client:\n"
        "    assert client.post('/ml/predict', json=dict(x=1)).json() == dict(price=2.0)\n"
        "assert TestClient(outer).post('/ml/predict', json=dict(x=1)).status_code == 503\n"
    )
    done = subprocess.run([sys.executable, "-c", text.format(folder=str(SERVICES))], cwd=tmp_path, env=environment(),
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
