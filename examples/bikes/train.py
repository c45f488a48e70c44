"""Train the demand model on the first half of the year and register it: `bikes`, alias `champion`.

    python examples/bikes/train.py

Goes to the registry in MLFLOW_TRACKING_URI, else to `mlflow.db` in the working folder. Run again with the same data
and the same parameters it does nothing. The model is logged as a LightGBM Booster: a text file that holds trees and
nothing else, so serving it needs no trust. The scikit-learn wrapper `LGBMRegressor` would be logged as a pickle, which
runs code on load, and MLflow's skops format refuses many estimators until their types are listed as trusted.
"""

import hashlib
import os
import platform
from importlib.metadata import version
from pathlib import Path

import lightgbm
import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

NAME, ALIAS = "bikes", "champion"
DATA = Path(__file__).parent / "data" / "bikeshare.parquet"
LAST_DAY, NEXT_DAYS = 180, 30
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


def fit(hours: pd.DataFrame) -> lightgbm.Booster:
    data = lightgbm.Dataset(hours[FEATURES].to_numpy(float), hours[TRUTH], feature_name=FEATURES)
    return lightgbm.train({**PARAMETERS, "num_threads": 1, "verbose": -1}, data, TREES)


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


def registered(run_parameters: dict[str, str]) -> str | None:
    """Give the champion's version if it was trained from the same data with the same parameters."""
    client = MlflowClient()
    try:
        champion = client.get_model_version_by_alias(NAME, ALIAS)
        known = client.get_run(str(champion.run_id)).data.params
    except MlflowException:
        return None
    return str(champion.version) if known == run_parameters else None


def log(booster: lightgbm.Booster, example: pd.DataFrame) -> str:
    """Log the model with signature and input example, register it and make it the champion; give its version."""
    info = mlflow.lightgbm.log_model(
        booster,
        name="model",
        signature=ModelSignature(
            inputs=Schema([ColSpec(kind, name) for name, kind in TYPES.items()]),
            outputs=Schema([ColSpec(DataType.double, TRUTH)]),
        ),
        input_example=example,
        pip_requirements=[f"lightgbm=={version('lightgbm')}"],
        registered_model_name=NAME,
    )
    MlflowClient().set_registered_model_alias(NAME, ALIAS, info.registered_model_version)
    return str(info.registered_model_version)


def main() -> None:
    mlflow.set_tracking_uri(os.environ.get("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db"))
    hours = pd.read_parquet(DATA)
    train = hours[hours["day"] <= LAST_DAY]
    test = hours[(hours["day"] > LAST_DAY) & (hours["day"] <= LAST_DAY + NEXT_DAYS)]
    facts = {"trees": TREES, "last_day": LAST_DAY, "data_sha256": hashlib.sha256(DATA.read_bytes()).hexdigest()}
    run_parameters = {name: str(value) for name, value in (PARAMETERS | facts).items()}
    if known := registered(run_parameters):
        print(f"{NAME} version {known} is the {ALIAS} already: same data, same parameters")
        return
    mlflow.set_experiment(NAME)
    with mlflow.start_run():
        booster = fit(train)
        metrics = measure(booster, train, test)
        mlflow.log_params(run_parameters)
        mlflow.log_metrics(metrics)
        mlflow.log_dict(environment(), "environment.json")
        new = log(booster, test[FEATURES].head(3))
    print(f"mean absolute error, {NEXT_DAYS} days after day {LAST_DAY}: {metrics['mae']:.1f} bikers an hour")
    print(f"the mean of the same hour of day:            {metrics['baseline_mae']:.1f}")
    print(f"registered: models:/{NAME}@{ALIAS}, version {new}")


if __name__ == "__main__":
    main()
