"""What is wanted: the configuration as data, and how it is read."""
