"""The configuration as data, and how it is read."""
