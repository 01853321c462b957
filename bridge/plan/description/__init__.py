"""The description of a run in Markdown."""
