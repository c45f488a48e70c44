"""How a split assigns rows to its sides: keys, hashes, weights."""
