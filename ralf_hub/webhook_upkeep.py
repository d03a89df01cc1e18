"""What a running hub does for its webhooks by the clock: let held tasks go on."""

from ralf_hub.intake.webhooks import release_held
from ralf_hub.services import Services
from ralf_hub.store import receipts
from ralf_hub.upkeep import Chore

RELEASE_EVERY_S = 1.0


def webhook_chores(hub: Services) -> tuple[Chore, ...]:
    """Return the chores of the webhooks."""

    async def release() -> None:
        if await hub.db.read(receipts.has_limited_tasks):
            limits = {route: sender.max_concurrent for route, sender in hub.senders.items()}
            await hub.intake.accept(lambda ledger: release_held(ledger, limits))

    return (Chore("held tasks", RELEASE_EVERY_S, release),)
