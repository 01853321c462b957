"""Tests of ``bridge.tracking``."""
