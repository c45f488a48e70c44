"""May the challenger take over? Statistics that stay valid however often one looks, and guards that stop early.

`status.look` reads a running experiment from the record and judges it; `verdict` and `plan` work on plain arrays.
"""
