"""A small BigQuery for the real client: its REST answers, its ways to fail, and what its tables hold then."""

from __future__ import annotations

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REASONS = {400: "invalid", 403: "quotaExceeded", 404: "notFound", 409: "duplicate", 413: "tooLarge"}
REASONS |= {429: "rateLimitExceeded", 503: "backendError"}


class FakeBigQuery:
    """`faults` are the statuses of the next answers to insertAll: 0 takes the rows and says 503 all the same.

    A row whose `error` is `poison` is invalid. Rows are not told apart by their insertId, as after a minute.
    """

    def __init__(self) -> None:
        self.tables: dict[str, dict[str, Any]] = {}
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.faults: list[int] = []
        self.calls: Counter[str] = Counter()
        self.most_rows = 50_000
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.reply(*fake.get(self.path.split("?")[0]))

            def do_POST(self) -> None:
                document = json.loads(self.rfile.read(int(self.headers["content-length"])))
                self.reply(*fake.post(self.path.split("?")[0], document))

            def reply(self, status: int, document: dict[str, Any]) -> None:
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def get(self, path: str) -> tuple[int, dict[str, Any]]:
        name = path.rsplit("/", 1)[1]
        return (200, self.tables[name]) if name in self.tables else failure(404)

    def post(self, path: str, document: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if path.endswith("/tables"):
            name = document["tableReference"]["tableId"]
            if name in self.tables:
                return failure(409)
            self.tables[name] = document
            return 200, document
        assert path.endswith("/insertAll"), path
        self.calls["insertAll"] += 1
        fault = self.faults.pop(0) if self.faults else None
        if fault:
            return failure(fault)
        name, rows = path.split("/")[-2], document["rows"]
        if len(rows) > self.most_rows:
            return failure(413)
        bad = [place for place, row in enumerate(rows) if row["json"].get("error") == "poison"]
        self.rows.setdefault(name, []).extend(row["json"] for n, row in enumerate(rows) if n not in bad)
        if fault == 0:
            return failure(503)
        errors = [
            {"index": n, "errors": [{"reason": "invalid", "location": "error", "message": "it is poison"}]} for n in bad
        ]
        return 200, {"kind": "bigquery#tableDataInsertAllResponse", **({"insertErrors": errors} if errors else {})}

    def seen(self) -> list[tuple[str, str]]:
        """Give the rows of the views that show each row once."""
        found = []
        for name, rows in self.rows.items():
            key = self.tables[f"{name}_once"]["view"]["query"].split("PARTITION BY ")[1].split(" ORDER")[0].split(", ")
            found += [(name, row[0]) for row in {tuple(row[column] for column in key) for row in rows}]
        return found


def failure(status: int) -> tuple[int, dict[str, Any]]:
    error = {"reason": REASONS[status], "message": f"a fault of status {status}", "domain": "global"}
    return status, {"error": {"code": status, "message": error["message"], "errors": [error]}}
