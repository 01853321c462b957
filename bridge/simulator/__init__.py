"""A simulation of the providers' fine-tuning APIs: real formats, invented jobs, no key, no network.

It serves the demo and the tests. Everything that a person may see is labelled as simulated.
"""

from bridge.simulator.demo_jobs import all_jobs, demo_jobs
from bridge.simulator.jobs import INVALID_TRAINING_FILE, Failure, Outcome, SimulatedJob, all_end_by
from bridge.simulator.messages import Reply, Request, json_reply
from bridge.simulator.server import Intercept, Simulator

__all__ = [
    "INVALID_TRAINING_FILE",
    "Failure",
    "Intercept",
    "Outcome",
    "Reply",
    "Request",
    "SimulatedJob",
    "Simulator",
    "all_end_by",
    "all_jobs",
    "demo_jobs",
    "json_reply",
]
