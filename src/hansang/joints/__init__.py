"""Whether what one node gives is what the next one takes, as far as type hints and signatures say it."""
