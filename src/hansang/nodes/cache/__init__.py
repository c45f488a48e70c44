"""What a cached node is made of: keys, entries, flights, and the places where entries are kept."""
