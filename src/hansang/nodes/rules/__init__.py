"""Rules that choose a branch for each row: what they look at, how they are read, what they chose and why."""
