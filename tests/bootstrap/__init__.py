"""Tests of ``bridge.bootstrap``."""
