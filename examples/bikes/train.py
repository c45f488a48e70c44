"""Train the demand model on the first half of the year and register it: `bikes`, alias `champion`.

    python examples/bikes/train.py
    mlflow run examples/bikes --env-manager=local --experiment-name bikes -P trees=200

The run in MLflow says what a version was made of: parameters, metrics, the data with its hash and its rows, the code by
its commit, Python and the packages. The model has a signature, an input example, and golden requests that it must
answer before it is served.

Goes to the registry in MLFLOW_TRACKING_URI, else to `mlflow.db` in the working folder. Run again with the same data
and the same parameters it does nothing. The model is logged as a LightGBM Booster: a text file that holds trees and
nothing else, so serving it needs no trust. The scikit-learn wrapper `LGBMRegressor` would be logged as a pickle, which
runs code on load, and MLflow's skops format refuses many estimators until their types are listed as trusted.
"""

import argparse
import hashlib
import json
import os
import platform
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightgbm
import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.data.sources import LocalArtifactDatasetSource  # type: ignore[attr-defined]  # made when it is imported
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

NAME, ALIAS = "bikes", "champion"
DATA = Path(__file__).parent / "data" / "bikeshare.parquet"
LAST_DAY, NEXT_DAYS = 180, 30
GOLDEN = 12
TYPES = {
    "hour": DataType.long,
    "weekday": DataType.long,
    "workingday": DataType.boolean,
    "holiday": DataType.boolean,
    "weather": DataType.long,
    "temp": DataType.double,
    "feels_like": DataType.double,
    "humidity": DataType.double,
    "windspeed": DataType.double,
}
FEATURES, TRUTH = list(TYPES), "bikers"
# A Poisson objective: the truth is a count, and no prediction is below zero.
PARAMETERS = {"objective": "poisson", "learning_rate": 0.1, "num_leaves": 31, "seed": 1, "deterministic": True}
TREES = 300


def fit(hours: pd.DataFrame, trees: int) -> lightgbm.Booster:
    data = lightgbm.Dataset(hours[FEATURES].to_numpy(float), hours[TRUTH], feature_name=FEATURES)
    return lightgbm.train({**PARAMETERS, "num_threads": 1, "verbose": -1}, data, trees)


def measure(booster: lightgbm.Booster, train: pd.DataFrame, test: pd.DataFrame) -> dict[str, float]:
    """Give the mean absolute error of the model, and of the plainest rival: the mean of the same hour of day."""
    predicted = booster.predict(test[FEATURES].to_numpy(float))
    usual = test["hour"].map(train.groupby("hour")[TRUTH].mean())
    return {
        "mae": float(np.abs(test[TRUTH] - predicted).mean()),
        "baseline_mae": float(np.abs(test[TRUTH] - usual).mean()),
    }


def environment() -> dict[str, str]:
    packages = ("lightgbm", "mlflow", "numpy", "pandas", "pyarrow")
    return {"python": platform.python_version(), "platform": platform.platform()} | {p: version(p) for p in packages}


def code_version() -> str:
    """Name the code: the last commit of this file; its hash too, or alone, where no commit is all of it."""
    here, name = Path(__file__).resolve().parent, Path(__file__).name
    own = f"sha256:{hashlib.sha256(Path(__file__).read_bytes()).hexdigest()}"
    try:
        commit = git(here, "log", "-1", "--format=%H", "--", name)
        changed = git(here, "status", "--porcelain", "--", name)
    except (OSError, subprocess.CalledProcessError):
        return own
    return f"git:{commit}" if commit and not changed else f"git:{commit or 'none'}, changed: {own}"


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def registered(run_parameters: dict[str, str]) -> str | None:
    """Give the champion's version if it was trained from the same data with the same parameters."""
    client = MlflowClient()
    try:
        champion = client.get_model_version_by_alias(NAME, ALIAS)
        known = client.get_run(str(champion.run_id)).data.params
    except MlflowException:
        return None
    return str(champion.version) if known == run_parameters else None


def log_run(parameters: dict[str, str], metrics: dict[str, float], train: pd.DataFrame) -> None:
    """Say in the run what the model is made of, and how good it is."""
    mlflow.log_params(parameters)
    mlflow.log_metrics(metrics)
    digest = parameters["data_sha256"]
    source = LocalArtifactDatasetSource(DATA.as_posix())
    data = mlflow.data.from_pandas(train, source=source, targets=TRUTH, name=DATA.stem, digest=digest[:36])  # type: ignore[attr-defined]  # made when it is imported
    mlflow.log_input(data, context="training")
    found = environment()
    mlflow.set_tags({"code": code_version(), "python": found["python"], "data_sha256": digest, "data_rows": len(train)})
    mlflow.log_dict(found, "environment.json")


def log_model(booster: lightgbm.Booster, test: pd.DataFrame) -> str:
    """Log the model with all that serving asks for, register it and make it the champion; give its version."""
    info = mlflow.lightgbm.log_model(
        booster,
        name="model",
        signature=ModelSignature(
            inputs=Schema([ColSpec(kind, name) for name, kind in TYPES.items()]),
            outputs=Schema([ColSpec(DataType.double, TRUTH)]),
        ),
        input_example=test[FEATURES].head(3),
        pip_requirements=[f"lightgbm=={version('lightgbm')}"],
    )
    with tempfile.TemporaryDirectory() as folder:  # beside the model's files, before it has a version that anyone sees
        golden = Path(folder) / "golden.jsonl"
        golden.write_text("".join(json.dumps(line) + "\n" for line in golden_requests(booster, test)))
        MlflowClient().log_model_artifact(info.model_id, str(golden))
    new = mlflow.register_model(f"models:/{info.model_id}", NAME).version
    MlflowClient().set_registered_model_alias(NAME, ALIAS, new)
    return str(new)


def golden_requests(booster: lightgbm.Booster, test: pd.DataFrame) -> list[dict[str, Any]]:
    """Give some hours as a client sends them, spread over the days of the test, and what the model says to each."""
    some = test[FEATURES].iloc[:: max(len(test) // GOLDEN, 1)].head(GOLDEN)
    rows = json.loads(some.to_json(orient="records", double_precision=15))
    said = booster.predict(some.to_numpy(float))
    return [{"input": row, "output": {TRUTH: float(y)}} for row, y in zip(rows, said, strict=True)]


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the demand model and register it.")
    parser.add_argument("--trees", type=int, default=TREES, help="Trees of the model.")
    parser.add_argument("--last-day", type=int, default=LAST_DAY, help="Last day of the year to learn from.")
    return parser.parse_args()


def main() -> None:
    given = options()
    mlflow.set_tracking_uri(os.environ.get("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db"))
    hours = pd.read_parquet(DATA)
    last = given.last_day
    train = hours[hours["day"] <= last]
    test = hours[(hours["day"] > last) & (hours["day"] <= last + NEXT_DAYS)]
    facts = {"trees": given.trees, "last_day": last, "data_sha256": hashlib.sha256(DATA.read_bytes()).hexdigest()}
    parameters = {name: str(value) for name, value in (PARAMETERS | facts).items()}
    if known := registered(parameters):
        print(f"{NAME} version {known} is the {ALIAS} already: same data, same parameters")
        return
    if "MLFLOW_RUN_ID" not in os.environ:  # `mlflow run` has started one, in the experiment that it was given
        mlflow.set_experiment(NAME)
    with mlflow.start_run():
        booster = fit(train, given.trees)
        metrics = measure(booster, train, test)
        log_run(parameters, metrics, train)
        new = log_model(booster, test)
    print(f"mean absolute error, {NEXT_DAYS} days after day {last}: {metrics['mae']:.1f} bikers an hour")
    print(f"the mean of the same hour of day:            {metrics['baseline_mae']:.1f}")
    print(f"registered: models:/{NAME}@{ALIAS}, version {new}")


if __name__ == "__main__":
    main()
