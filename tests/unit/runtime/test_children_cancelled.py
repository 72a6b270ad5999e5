"""C4: whoever cancels a run cancels what it started."""

from __future__ import annotations

import perdure
from perdure.runtime.cancelling import cancel_run
from perdure.store.rows import Filter
from tests.unit.runtime.harness import House


async def test_children_of_a_parked_parent_are_cancelled_with_it(house: House) -> None:
    async def leaf() -> None:
        await perdure.wait_for("never")

    below = house.serve(leaf, park_after=0)

    async def middle() -> None:
        await below.run()

    between = house.serve(middle, park_after=0)

    async def root() -> None:
        await between.run()

    house.serve(root, park_after=0)
    await house.worker()
    run_id = await house.submit("root")
    await house.parked(run_id, "run")
    (child,) = await house.store.find(Filter(parent=run_id))
    await house.parked(child.id, "run")
    (grandchild,) = await house.store.find(Filter(parent=child.id))
    await house.parked(grandchild.id, "signal")
    cancelled = await cancel_run(house.store, run_id)
    assert cancelled.state == "cancelled"
    for each in (child.id, grandchild.id):
        run = await house.until(each)
        assert (run.state, run.error and run.error["code"]) == ("cancelled", "run_cancelled")
    await cancel_run(house.store, run_id)  # again changes nothing
