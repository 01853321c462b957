"""Tests of ``bridge.doctor``."""
