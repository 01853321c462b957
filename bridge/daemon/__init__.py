"""Repeat the passes, and show what they do.

::

    scheduler ──> status ──> metrics, status_page ──> http_server ──> Prometheus, people
        └───────> notifications ──> delivery ──> webhooks, services

``service`` runs them under one configuration after the other. Everything that follows the passes
handles their events; nothing that follows them can disturb one.
"""
