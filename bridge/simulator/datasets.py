"""The training and validation files of the simulated jobs: short, invented, always the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal

from bridge.simulator.jobs import SimulatedJob
from bridge.simulator.seeded import uniform

Role = Literal["training", "validation"]

_EXAMPLES: Mapping[Role, int] = {"training": 24, "validation": 6}
_SYSTEM = "You answer the customers of an invented shop. (simulated)"
_BAD_ANSWER = "I do not know."
_TALKS = (
    ("Where is order {n}?", "Order {n} left our warehouse this morning and takes two days."),
    ("Can I return item {n}?", "Yes: item {n} can be returned within 30 days, unopened."),
    ("Is item {n} in stock?", "Item {n} is back on Thursday; shall I reserve one for you?"),
    ("I was charged twice for order {n}.", "I am sorry. The second charge for {n} is refunded."),
    ("Please cancel order {n}.", "Order {n} is cancelled; the money is back within a week."),
)


def roles(job: SimulatedJob) -> tuple[Role, ...]:
    """Return the files that were uploaded for ``job``."""
    return ("training", "validation") if job.validation else ("training",)


def examples(job: SimulatedJob, role: Role) -> bytes:
    """Return the file's content: a line of JSON for each example."""
    lines = [json.dumps(_example(job, role, n)) for n in range(_EXAMPLES[role])]
    return "".join(f"{line}\n" for line in lines).encode()


def _example(job: SimulatedJob, role: Role, number: int) -> Mapping[str, object]:
    topic = int(uniform(job.id, role, number, "topic") * len(_TALKS))
    thing = 1000 + int(uniform(job.id, role, number, "thing") * 9000)
    question, answer = (said.format(n=thing) for said in _TALKS[topic])
    asked = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": question}]
    if job.method == "dpo":
        return {
            "input": {"messages": asked},
            "preferred_output": [{"role": "assistant", "content": answer}],
            "non_preferred_output": [{"role": "assistant", "content": _BAD_ANSWER}],
        }
    return {"messages": [*asked, {"role": "assistant", "content": answer}]}
