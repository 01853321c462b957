"""The description of a run: what became of its job, in Markdown."""
