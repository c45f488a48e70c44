"""Pictures of a service's graphs: in a terminal, as an SVG, and as plain data."""
