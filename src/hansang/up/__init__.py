"""One service as several processes on this machine: what runs where, and who keeps it running."""
