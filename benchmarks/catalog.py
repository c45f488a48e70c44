"""The peers: how each is installed, started and asked, and which models it serves.

Each runs as its own guide recommends, with one worker and its access log off. Where a guide leaves the batching window
open it is 1 ms, and ONNX Runtime has one thread: both in the peers' favour.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import Template

from environments import ROOT, python_of
from models import FEATURES, MODELS

PEERS = Path(__file__).with_name("peers")
RUNTIMES = ("scikit-learn", "onnxruntime", "numpy", "joblib")
UVICORN = ("uvicorn", "uvloop", "httptools")
BOTH = ("sklearn", "onnx")

Row = Sequence[float]


def named(row: Row) -> str:
    return json.dumps(dict(zip(FEATURES, row, strict=True)))


def _bento_body(row: Row) -> str:
    return json.dumps({"rows": [list(row)]})


def _split_body(row: Row) -> str:
    return json.dumps({"dataframe_split": {"columns": FEATURES, "data": [list(row)]}})


def _inference_body(row: Row) -> str:
    return json.dumps({"inputs": [{"name": "rows", "shape": [1, 4], "datatype": "FP64", "data": list(row)}]})


@dataclass(frozen=True, slots=True)
class Launch:
    """One server to start: which model in which form, on which port, in which working folder."""

    model: str
    runtime: str
    port: int
    folder: Path

    @property
    def file(self) -> Path:
        return MODELS / f"{self.model}.{'onnx' if self.runtime == 'onnx' else 'joblib'}"

    @property
    def mlflow_folder(self) -> Path:
        return MODELS / f"{self.model}-{self.runtime}"


@dataclass(frozen=True, slots=True)
class Peer:
    name: str
    says: str
    environment: str
    packages: tuple[str, ...]
    command: Callable[[Launch], list[str]]
    runtimes: tuple[str, ...] = ()
    path: str = "/predict"
    body: Callable[[Row], str] = named
    settings: Mapping[str, str] = field(default_factory=dict)
    ids: bool = False
    models: tuple[str, ...] = ("logreg", "forest")


def _bin(environment: str, program: str) -> str:
    return str(python_of(environment).with_name(program))


def _uvicorn(environment: str, app: str) -> Callable[[Launch], list[str]]:
    def command(launch: Launch) -> list[str]:
        where = ["--host", "127.0.0.1", "--port", str(launch.port), "--app-dir", str(PEERS)]
        loop = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
        return [_bin(environment, "uvicorn"), app, *where, *loop]

    return command


def _script(environment: str, file: str, *more: str) -> Callable[[Launch], list[str]]:
    def command(launch: Launch) -> list[str]:
        return [str(python_of(environment)), str(PEERS / file), *(part.format(port=launch.port) for part in more)]

    return command


def _nginx(launch: Launch) -> list[str]:
    config = launch.folder.parent / "nginx.conf"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(Template((PEERS / "nginx.conf").read_text()).substitute(BENCH_PORT=launch.port))
    return ["nginx", "-p", str(launch.folder), "-c", str(config)]


def _flask(launch: Launch) -> list[str]:
    return [_bin("flask", "flask"), "--app", str(PEERS / "flask_predict.py"), "run", "--port", str(launch.port)]


def _gunicorn(launch: Launch) -> list[str]:
    where = ["--bind", f"127.0.0.1:{launch.port}", "--chdir", str(PEERS)]
    return [_bin("flask", "gunicorn"), *where, "--workers", "1", "--log-level", "warning", "flask_predict:app"]


def _bentoml(launch: Launch) -> list[str]:
    where = ["--host", "127.0.0.1", "--port", str(launch.port), "--working-dir", str(PEERS)]
    return [_bin("bentoml", "bentoml"), "serve", "bentoml_service:Iris", *where]


def _mlserver(launch: Launch) -> list[str]:
    return [_bin("mlserver", "mlserver"), "start", str(MODELS / f"{launch.model}-mlserver")]


def _mlflow(launch: Launch) -> list[str]:
    where = ["--host", "127.0.0.1", "--port", str(launch.port), "--env-manager", "local", "--workers", "1"]
    return [_bin("mlflow", "mlflow"), "models", "serve", "-m", str(launch.mlflow_folder), *where]


def _hansang(launch: Launch) -> list[str]:
    where = ["--host", "127.0.0.1", "--port", str(launch.port)]
    return [_bin("project", "hansang"), "serve", str(launch.mlflow_folder), *where]


def _hansang_typed(launch: Launch) -> list[str]:
    where = ["--host", "127.0.0.1", "--port", str(launch.port)]
    return [_bin("project", "hansang"), "serve", str(PEERS / "hansang_service.py"), *where]


HANSANG = Peer(
    "hansang",
    "`hansang serve` of an MLflow model: validation, record and metrics on",
    "project",
    ("uvicorn", "uvloop", "httptools", "fastapi", "pydantic", "scikit-learn", "onnxruntime"),
    _hansang,
    ("onnx", "sklearn"),
    settings={"HANSANG_TRUST": "*"},
    ids=True,
)
ECHO = Peer(
    "echo", "bare uvicorn, an ASGI function returns the body", "echo", UVICORN, _uvicorn("echo", "echo:app"), ids=True
)
FASTAPI = Peer(
    "fastapi-echo",
    "FastAPI, a pydantic model of four floats returned",
    "fastapi",
    ("fastapi", *UVICORN, *RUNTIMES),
    _uvicorn("fastapi", "fastapi_echo:app"),
)
FLASK = Peer("flask-dev", "Flask's development server", "flask", ("flask", "gunicorn", *RUNTIMES), _flask, BOTH)

PEER_LIST = (
    Peer("nginx", "nginx returns a constant", "system", (), _nginx),
    ECHO,
    HANSANG,
    replace(
        HANSANG,
        name="hansang-norecord",
        says="the same with the prediction record off",
        runtimes=("onnx",),
        models=("logreg",),
        settings={**HANSANG.settings, "HANSANG_RECORD": "off"},
        ids=False,
    ),
    replace(
        HANSANG,
        name="hansang-typed",
        says="`hansang serve` of a service file with a pydantic model of the user's own",
        command=_hansang_typed,
        runtimes=("onnx",),
        models=("logreg",),
        ids=False,
    ),
    FASTAPI,
    replace(
        FASTAPI,
        name="fastapi-sync",
        says="FastAPI, hand-written `def` predict",
        command=_uvicorn("fastapi", "fastapi_predict:app"),
        runtimes=BOTH,
        path="/sync",
    ),
    replace(
        FASTAPI,
        name="fastapi-async",
        says="FastAPI, hand-written `async def` predict",
        command=_uvicorn("fastapi", "fastapi_predict:app"),
        runtimes=("onnx",),
        path="/async",
    ),
    Peer(
        "mosec",
        "mosec, dynamic batching",
        "mosec",
        ("mosec", *RUNTIMES),
        _script("mosec", "mosec_server.py", "--address", "127.0.0.1", "--port", "{port}", "--log-level", "warning"),
        BOTH,
        path="/inference",
    ),
    FLASK,
    replace(FLASK, name="gunicorn", says="Flask under gunicorn, one sync worker", command=_gunicorn),
    Peer(
        "mlserver",
        "MLServer, scikit-learn runtime in process, adaptive batching",
        "mlserver",
        ("mlserver", "mlserver-sklearn", "uvloop<0.22", "scikit-learn", "numpy", "joblib"),
        _mlserver,
        ("sklearn",),
        path="/v2/models/iris/infer",
        body=_inference_body,
        settings={"MLSERVER_HOST": "127.0.0.1", "MLSERVER_DEBUG": "false", "MLSERVER_PARALLEL_WORKERS": "0"},
    ),
    Peer(
        "litserve",
        "LitServe, batched",
        "litserve",
        ("litserve", *RUNTIMES),
        _script("litserve", "litserve_server.py"),
        BOTH,
    ),
    Peer(
        "mlflow",
        "`mlflow models serve --env-manager local`",
        "mlflow",
        ("mlflow", "onnx", *RUNTIMES),
        _mlflow,
        BOTH,
        path="/invocations",
        body=_split_body,
    ),
    Peer("bentoml", "BentoML, batchable API", "bentoml", ("bentoml", *RUNTIMES), _bentoml, BOTH, body=_bento_body),
    Peer(
        "ray",
        "Ray Serve, `@serve.batch`",
        "ray",
        ("ray[serve]", *RUNTIMES),
        _script("ray", "ray_server.py"),
        ("sklearn",),
    ),
)


def launches(peer: Peer) -> list[tuple[str, str]]:
    """Return the (model, runtime) pairs a peer is measured with; one empty pair where there is no model."""
    if not peer.runtimes:
        return [("", "")]
    return [(model, runtime) for model in peer.models for runtime in peer.runtimes]


def settings(peer: Peer, launch: Launch, ports: Sequence[int]) -> dict[str, str]:
    """Return what the peer reads from its environment, the extra ports that some insist on included."""
    common = {"BENCH_PORT": str(launch.port)}
    if launch.model:
        common |= {"BENCH_MODEL": str(launch.file), "BENCH_MLFLOW_MODEL": str(launch.mlflow_folder)}
    path = f"{python_of(peer.environment).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    named_ports = {
        "MLSERVER_HTTP_PORT": str(launch.port),
        "MLSERVER_GRPC_PORT": str(ports[0]),
        "MLSERVER_METRICS_PORT": str(ports[1]),
    }
    homes = {"BENTOML_HOME": str(ROOT / ".bench" / "homes" / "bentoml"), "PYTHONPATH": str(PEERS)}
    ours = {} if peer.environment == "project" else {**named_ports, **homes}
    return {**common, "PATH": path, **ours, **peer.settings}
