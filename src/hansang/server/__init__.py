"""HTTP: the only room that knows of it."""
