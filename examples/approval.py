"""An agent that waits for a human: the run is parked, holds no worker, and survives restarts.

Try it:

    perdure dev examples/approval.py:refund
    perdure runs list
    perdure signal RUN_ID approved '{"by": "ada"}'
"""

from datetime import timedelta

import perdure


@perdure.tool(effect="once")
async def pay_back(order: str) -> str:
    """Pretends to move money."""
    return f"refunded {order}"


async def refund(order: str) -> str:
    """Refunds an order when someone approves within a day."""
    try:
        answer = await perdure.wait_for("approved", timeout=timedelta(days=1))
    except TimeoutError:
        return f"{order}: nobody approved"
    return f"{await pay_back(order)}, approved by {answer['by']}"
