"""Assemble the parts as the configuration says."""
