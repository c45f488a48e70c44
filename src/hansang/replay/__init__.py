"""What another version would have said to recorded input: offline through the scoring path, or as load on a server."""

from hansang.replay.load import Load, Rate, load
from hansang.replay.run import Replay, replay

__all__ = ["Load", "Rate", "Replay", "load", "replay"]
