"""What a running daemon shows of itself, and whom it tells.

::

    daemon ──> Picture ──> metrics, page ──> Listener ──> Prometheus, people, `ftbridge status`
       └─────> Notifier, Heartbeat ──> Courier ──> webhooks

All are observers of the passes, and none can disturb one.
"""
