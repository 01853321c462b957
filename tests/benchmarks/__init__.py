"""Measurements on the present machine; ``make bench`` prints their tables."""
