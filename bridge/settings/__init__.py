"""The configuration as data, and its loading."""
