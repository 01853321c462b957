"""Tests of ``bridge.sync``."""
