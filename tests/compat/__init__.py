"""MLflow servers of every age: which of them the bridge records to, and what it leaves out.

``make compat`` installs each in an environment of its own and prints the table of config/README.md.
"""
