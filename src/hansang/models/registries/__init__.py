"""The registries that Hansang reads: an MLflow database file, an MLflow server, and whatever mlflow's client reads."""
