"""Hosted fine-tuning APIs, one module per wire format.

A provider turns wire records into ``bridge.model`` values and does nothing else: retries, waits
and errors belong to ``bridge.http``, decisions to ``bridge.plan``. ``base`` is the interface of a
provider, and ``registry`` lists all providers.
"""
