"""Tests of ``bridge.plan``."""
