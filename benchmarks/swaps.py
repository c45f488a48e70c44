"""Swaps of a managed model under load: lost or wrong answers, latency, memory; and a registry that is killed.

    python benchmarks/swaps.py [--swaps 100] [--connections 64] [--megabytes 20]
    python benchmarks/swaps.py --server        # an MLflow server behind it, killed and started again under load
    python benchmarks/swaps.py --freed 50      # memory of each runtime after so many loads beside each other

The model adds 1000 · version to its row, so every answer is held against the version that its header names. A swap
lasts from the move of the alias until 200 ms after the first answer of the new version; the rest is quiet.
The MLflow server has PostgreSQL behind it where initdb is found, else SQLite.
"""

import argparse
import asyncio
import gc
import glob
import os
import pwd
import shutil
import statistics
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import usage  # noqa: E402
from server import Server, free_port  # noqa: E402

from hansang import Model  # noqa: E402
from hansang.models.loaded import free  # noqa: E402
from hansang.models.uri import open_registry, resolve  # noqa: E402
from hansang.settings import Settings  # noqa: E402
from tests.models import steps  # noqa: E402

BENCH = ROOT / ".bench/swaps"
AFTER = 0.2
VERSIONS = 6
HEAD = "POST /predict HTTP/1.1\r\nHost: b\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"


class Load:
    """Connections that ask all the time; `answers` are (sent, seconds), `seen` counts answers by version."""

    def __init__(self, port, connections):
        self.port, self.connections = port, connections
        self.answers, self.seen, self.failed, self.wrong = [], Counter(), [], []
        self.news, self.stopped = asyncio.Event(), False

    async def __aenter__(self):
        self.tasks = [asyncio.create_task(self._ask(n)) for n in range(self.connections)]
        return self

    async def __aexit__(self, *_):
        self.stopped = True
        await asyncio.gather(*self.tasks)

    async def first(self, version, seconds=60):
        """Wait for the next answer of a version."""
        self.news.clear()
        before = self.seen[version]
        async with asyncio.timeout(seconds):
            while self.seen[version] == before:
                self.news.clear()
                await self.news.wait()

    async def _ask(self, x):
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            while not self.stopped:
                x = (x + 97) % 1009
                body = b'{"x":%d}' % x
                sent = time.perf_counter()
                writer.write(HEAD.format(len(body)).encode() + body)
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
                answer = await reader.readexactly(length)
                self.answers.append((sent, time.perf_counter() - sent))
                version = head.partition(b"x-model-version: ")[2].partition(b"\r\n")[0].decode()
                if not head.startswith(b"http/1.1 200"):
                    self.failed.append(head + answer)
                elif answer != b'{"y":%.1f}' % (x + steps.STEP * int(version)):
                    self.wrong.append((x, version, answer))
                if not self.seen[version] or not self.news.is_set():
                    self.news.set()
                self.seen[version] += 1
            writer.close()
        except (OSError, ValueError, asyncio.IncompleteReadError) as error:
            self.failed.append(repr(error))


def serving_mb(it):
    """Give the memory of the process that serves; the one that compacts the record is none of a swap's business."""
    return usage.pss_mb([it.process.pid])


def at(waits, share):
    return sorted(waits)[int(len(waits) * share)] * 1e3 if waits else float("nan")


@contextmanager
def service(registry, poll):
    port = free_port()
    command = [str(Path(sys.executable).with_name("hansang")), "serve", "models:/steps", "--port", str(port)]
    environment = {
        "PYTHONPATH": str(ROOT / "src"),
        "HANSANG_REGISTRY": registry,
        "HANSANG_REGISTRY_POLL": str(poll),
    }
    folder = BENCH / "service"
    with Server(
        command, port=port, folder=folder, environment=environment, answers=lambda it: it.get_ok("/readyz")
    ) as it:
        yield it


async def swaps(it, registry, count, connections, quiet):
    """Move the alias so often; gives the load, and when each swap was."""
    windows, memory = [], []
    async with Load(it.port, connections) as load:
        await asyncio.sleep(quiet)
        for number in range(count):
            version = str((number + 1) % VERSIONS + 1)
            began = time.perf_counter()
            await asyncio.to_thread(registry.set_alias, "steps", "champion", version)
            await load.first(version)
            answered = time.perf_counter()
            await asyncio.sleep(AFTER)
            windows.append((began, answered, time.perf_counter()))
            await asyncio.sleep(0.05)
            if number >= 1:
                memory.append(serving_mb(it))
        await asyncio.sleep(min(quiet, 2.0))
        memory.append(serving_mb(it))
    return load, windows, memory


def tell(load):
    counts = f"answers {len(load.answers)}, failed {len(load.failed)}, wrong {len(load.wrong)}"
    print(f"{counts}; by version {dict(sorted(load.seen.items()))}")


def shown(waits):
    return f"n={len(waits)} p50 {at(waits, 0.5):.2f} p99 {at(waits, 0.99):.2f} longest {at(waits, 1 - 1e-9):.2f} ms"


def report(load, windows, memory):
    inside, outside = [], []
    for sent, took in load.answers:
        swap = any(began < sent + took and sent < end for began, _, end in windows)
        (inside if swap else outside).append(took)
    each = [end - began for began, end, _ in windows]
    tell(load)
    print(f"swaps {len(windows)}: move to first answer p50 {statistics.median(each):.3f} s, longest {max(each):.3f} s")
    print(f"quiet {shown(outside)}\nswaps {shown(inside)}")
    print(f"p99 of swaps is {at(inside, 0.99) / at(outside, 0.99):.2f} times the quiet one")
    tenth = max(len(memory) // 10, 1)
    early, late = statistics.median(memory[:tenth]), statistics.median(memory[-tenth:])
    change = f"{early:.1f} MB in the first tenth, {late:.1f} MB in the last: {late / early - 1:+.1%}"
    print(f"PSS of the serving process after a swap: {change}; {min(memory):.1f} to {max(memory):.1f} MB")


def versions(megabytes):
    shutil.rmtree(BENCH, ignore_errors=True)
    BENCH.mkdir(parents=True)
    count = max(megabytes * 250_000, 16)
    return [steps.write(BENCH / "versions" / str(n), n, weights=count) for n in range(1, VERSIONS + 1)]


def under_load(options):
    uri = steps.register(BENCH, ["steps"], versions(options.megabytes))
    with service(uri, options.poll) as it:
        report(*asyncio.run(swaps(it, open_registry(uri), options.swaps, options.connections, options.quiet)))


# --- a registry that is killed ---


@contextmanager
def postgres(folder):
    """Start PostgreSQL in a folder of its own, as a user who is not root; gives the address for MLflow."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin")) or [
        str(Path(p).parent) for p in [shutil.which("initdb")] if p
    ]
    if not found:
        yield f"sqlite:///{folder}/server.db"
        return
    data, port = folder / "data", free_port()
    data.mkdir(parents=True)
    user = {}
    if os.getuid() == 0:
        entry = pwd.getpwnam("postgres")
        os.chown(data, entry.pw_uid, entry.pw_gid)
        user = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/", **user}
    subprocess.run([f"{found[-1]}/initdb", "-D", data, "-A", "trust", "-U", "mlflow"], check=True, **quiet)
    command = [f"{found[-1]}/postgres", "-D", data, "-p", str(port), "-k", "", "-h", "127.0.0.1", "-c", "fsync=off"]
    process = subprocess.Popen(command, **quiet)
    ready = [f"{found[-1]}/pg_isready", "-h", "127.0.0.1", "-p", str(port), "-q"]
    try:
        while subprocess.run(ready, check=False).returncode:
            time.sleep(0.1)
        yield f"postgresql+psycopg://mlflow@127.0.0.1:{port}/postgres"
    finally:
        process.terminate()
        process.wait()


def mlflow_server(backend, port):
    options = ["--backend-store-uri", backend, "--artifacts-destination", str(BENCH / "artifacts"), "--workers", "1"]
    return Server(
        [sys.executable, "-m", "mlflow", "server", *options, "--port", str(port)],
        port=port,
        folder=BENCH / f"mlflow-{time.monotonic_ns()}",
        environment={"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        answers=lambda it: it.get_ok("/health"),
    )


async def killed(it, servers, backend, connections):
    """Kill the registry under load, move the alias in its database meanwhile, and start it again."""
    down = open_registry(backend)
    async with Load(it.port, connections) as load:
        await asyncio.sleep(2)
        os.killpg(servers[0].process.pid, 9)
        servers[0].process.wait()
        print("killed the registry's server")
        await asyncio.to_thread(down.set_alias, "steps", "champion", "2")
        await asyncio.sleep(3)
        assert load.seen.keys() == {"1"}, load.seen
        began = time.perf_counter()
        servers[1] = await asyncio.to_thread(servers[1].__enter__)
        up = time.perf_counter()
        await load.first("2")
        waited = time.perf_counter() - up
        print(f"started in {up - began:.1f} s; the move was followed {waited:.2f} s after its first answer")
        await asyncio.sleep(1)
    tell(load)
    print(shown([took for _, took in load.answers]))


def with_server(options):
    sources, port = versions(1), free_port()
    with postgres(BENCH / "database") as backend:
        print(f"MLflow on {backend.partition(':')[0]}")
        with mlflow_server(backend, port) as first:
            uri = f"http://127.0.0.1:{port}"
            steps.upload(uri, BENCH, "steps", sources)
            servers = [first, mlflow_server(backend, port)]
            with service(uri, options.poll) as it:
                try:
                    asyncio.run(killed(it, servers, backend, options.connections))
                finally:
                    if hasattr(servers[1], "process"):
                        servers[1].stop()


# --- memory of each runtime ---


def trained(folder):
    """Write a model of some megabytes for each runtime."""
    import joblib
    import lightgbm
    import numpy as np
    import xgboost
    from sklearn.ensemble import RandomForestRegressor

    rows = np.random.default_rng(1).normal(size=(5_000, 10))
    truth = rows @ np.arange(10.0) + np.sin(rows[:, 0] * 9)
    quiet = {"verbosity": -1, "num_threads": 1, "num_leaves": 127}
    lightgbm.train(quiet, lightgbm.Dataset(rows, truth), 200).save_model(folder / "lightgbm.txt")
    xgboost.train({"max_depth": 8, "nthread": 1}, xgboost.DMatrix(rows, truth), 100).save_model(folder / "xgboost.ubj")
    joblib.dump(RandomForestRegressor(20, max_depth=12).fit(rows, truth), folder / "sklearn.joblib")
    (folder / "onnx.onnx").write_bytes(steps.onnx_bytes(1, 5_000_000))


def freed(count):
    """Load each kind of model beside itself so often, as swaps do; print the resident memory on the way."""
    settings, folder = Settings(trust=("*",)), BENCH / "trained"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    trained(folder)
    for file in sorted(folder.iterdir()):
        model, artifact, sizes = Model(str(file)), resolve(str(file)), []
        box = [model.build(artifact, settings)]
        for number in range(count + 5):
            box.append(model.build(artifact, settings))
            free(old := [box.pop(0)])
            assert not old
            if number >= 5:
                sizes.append(usage.pss_mb([os.getpid()]))
        free(box)
        gc.collect()
        change = f"{sizes[0]:.1f} MB after 5 swaps, {sizes[-1]:.1f} MB after {count} more"
        print(f"{file.name:15} {file.stat().st_size / 1e6:5.1f} MB file: {change}: {sizes[-1] / sizes[0] - 1:+.1%}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--swaps", type=int, default=100)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--megabytes", type=int, default=20)
    parser.add_argument("--poll", type=float, default=0.1)
    parser.add_argument("--quiet", type=float, default=8.0)
    parser.add_argument("--server", action="store_true")
    parser.add_argument("--freed", type=int, default=0)
    options = parser.parse_args()
    if options.freed:
        freed(options.freed)
    else:
        (with_server if options.server else under_load)(options)


if __name__ == "__main__":
    main()
