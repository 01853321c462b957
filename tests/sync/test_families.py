"""Lineage between runs, decided at the end of a pass, in a real MLflow."""

from __future__ import annotations

import pytest

from bridge.plan import tags
from bridge.plan.models import HostedModel
from bridge.sync.lineage import Lineage
from bridge.sync.outcome import Synced
from bridge.tracking import Tracking
from tests.support.plans import plan


class Family:
    """Three runs: a model's maker, a run that starts from the model, and a rival."""

    def __init__(self, tracking: Tracking, **maker: str) -> None:
        self._tracking = tracking
        found = tracking.experiment("hosted-fine-tunes", create=True)
        assert found
        self.places = [found]
        with tracking.asked() as client:
            tags_of = {tags.PROVIDER: "openai", tags.JOB: "p"}
            self.maker, self.child, self.rival = (
                client.create_run(found, tags=tags_of | more).info.run_id
                for more in (maker, {}, {})
            )
        self.lineage = Lineage("openai", tracking)

    def records(self, run_id: str, *models: str, base_model: str | None = None) -> None:
        """Let this pass record a run."""
        made = tuple(
            HostedModel(model=model, name="m", step=1, metrics=(), about={}) for model in models
        )
        starts = {tags.BASE_MODEL: base_model} if base_model else {}
        self.lineage.learn_outcome(
            Synced(
                provider="openai",
                job_id="a",
                plan=plan("a", models=made, tags=starts),
                run_id=run_id,
            )
        )

    def links(self) -> dict[str, tuple[str | None, str | None]]:
        """Return the runs that each starts from, and those that start from it."""
        self.lineage.write(self.places)
        found = {}
        for name in ("maker", "child", "rival"):
            run = self._tracking.run(getattr(self, name))
            assert run
            found[name] = (run.tags.get(tags.FROM_RUN), run.tags.get(tags.INTO_RUNS))
        return found


NOBODY = (None, None)


def test_a_maker_and_a_child_of_one_pass(tracking: Tracking) -> None:
    """A maker and a child of one pass are linked in either order, and never a run with itself."""
    family = Family(tracking)
    family.records(family.child, base_model="ft:1")
    family.records(family.maker, "ft:1", base_model="ft:1")
    assert family.links() == {
        "maker": (None, family.child),
        "child": (family.maker, None),
        "rival": NOBODY,
    }


@pytest.mark.parametrize("loser", ["maker", "child"])
def test_the_run_that_owns_a_job_has_its_family(tracking: Tracking, loser: str) -> None:
    """Lineage belongs to the run that owns a job, not to one that lost a race."""
    family = Family(tracking)
    family.records(family.child, base_model="ft:1")
    family.records(family.maker, "ft:1")
    family.lineage.owned_by({getattr(family, loser): family.rival})
    links = family.links()
    assert links[loser] == NOBODY
    if loser == "maker":
        assert links["child"] == (family.rival, None)
        assert links["rival"] == (None, family.child)
    else:
        assert links["rival"] == (family.maker, None)
        assert links["maker"] == (None, family.rival)


@pytest.mark.parametrize("tag", [*tags.MADE_MODELS])
def test_a_maker_of_an_earlier_process_is_asked_for(tracking: Tracking, tag: str) -> None:
    """A maker from an earlier process is found by any of the names in its run's tags."""
    family = Family(tracking, **{tag: "ft:1"})
    family.records(family.child, base_model="ft:1")
    assert family.links()["child"] == (family.maker, None)


def test_a_maker_that_comes_later_finds_its_child(tracking: Tracking) -> None:
    """A later maker finds its child, whose base model is remembered until then."""
    family = Family(tracking)
    with tracking.asked() as client:
        client.set_tag(family.child, tags.BASE_MODEL, "ft:1")
    family.records(family.child, base_model="ft:1")
    assert family.links() == dict.fromkeys(("maker", "child", "rival"), NOBODY)
    family.records(family.maker, "ft:1")
    assert family.links()["child"] == (family.maker, None)
