"""Mutation tests: whether a test fails if the code is wrong. ``make mutants``."""
