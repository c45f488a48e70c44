"""Hansang: from a trained model to a production service that stays good."""
