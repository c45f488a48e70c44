"""The serving patterns, one a file: each is a node around nodes."""
