"""Hosted fine-tuning APIs, one file per wire format.

A provider turns wire records into ``bridge.model`` values and does nothing else: retries, waits
and errors belong to ``bridge.http``, decisions to ``bridge.plan``. ``base`` is what a provider may
rely on, ``registry`` knows them all.
"""
