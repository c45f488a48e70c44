"""Python's logging for whoever runs a service: one configuration, whose request a line is about, files that rotate."""
