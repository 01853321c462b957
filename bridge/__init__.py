"""Hosted fine-tuning jobs as MLflow runs.

The flow, and the folders that show it::

    provider API --HTTP--> Snapshot --make_plan(snapshot, recorded)--> Plan --apply--> MLflow
                                            ^                                           |
                                            +----------------- recorded ----------------+

The layers, from what everybody knows to what users call::

    core < http < providers
    core < plan < tracking
    providers, tracking < sync < doctor < settings < bootstrap < daemon < cli
    core < simulator, which only cli starts

A module imports its own package and the layers below it, never upwards and never in a circle.
``core`` is the modules beside the packages. ``sync`` makes one pass over one provider, ``daemon``
repeats it, ``cli`` starts either.
"""

__version__ = "0.1.0"
