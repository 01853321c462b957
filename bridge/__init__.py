"""Hosted fine-tuning jobs as MLflow runs.

The flow, one module per stage::

    providers -> model.Snapshot -> plan.Plan -> tracking -> MLflow

``sync`` runs it once for one provider; ``daemon`` repeats it; ``cli`` starts either.
"""

__version__ = "0.1.0"
