"""MLflow servers of every age: which of them the bridge records to, and what it leaves out.

Its own MLflow counts too: the row ``client`` is the bridge with the oldest that pip accepts.

``make compat`` installs each in a separate environment and prints the table of README.md and
config/README.md.
"""
