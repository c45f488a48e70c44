"""Sinks: where the rows of a record go besides its own files, one class a file behind one Protocol.

`deliver` is the process that hands finished Parquet files to all sinks of a record, each in a thread of its own; the
compactor owns it. `position` knows what each sink has.
"""
