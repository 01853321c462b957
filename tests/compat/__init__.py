"""MLflow servers of all versions: which ones the bridge supports, and what it leaves out.

The row ``client`` is the bridge with the oldest MLflow that pip accepts.

``make compat`` installs each in a separate environment and prints the table of README.md and
config/README.md.
"""
