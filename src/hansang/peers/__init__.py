"""Talking to other processes: the connections, the wire format, and the three kinds of far side."""
