"""What runs a model, one file for each kind of model."""
