"""What a caller gets while the node that has the wallet cannot be asked: as the org wants it."""

from contextlib import AsyncExitStack

import pytest

from wallet_persistence.embedded import EmbeddedValkey
from wallet_testing.edge import Heard, edge
from wallet_testing.members import Members, of, shared


async def rings(members: Members, at: int, org_id: str, call_id: str) -> Heard:
    message = {"type": "assistant-request", "call": {"id": call_id}}
    path = f"/api/vapi/orgs/{org_id}/webhook"
    return await members[at].ask("POST", path, {"message": message}, token=None)


@pytest.mark.parametrize("created_with_it", [True, False])
async def test_an_org_that_would_rather_answer(
    database: str, valkey: EmbeddedValkey, *, created_with_it: bool
) -> None:
    """Its calls start on the node that is left, as long as the org allows; others' do not."""
    groups = {**shared(valkey.url), "http": {"vapi_deadline_s": 0.5}}
    allow = {"on_unavailable": "allow", "max_call_seconds": 120}
    async with AsyncExitStack() as running:
        nodes = [
            await running.enter_async_context(edge(database, node={"id": name}, **groups))
            for name in ("a", "b")
        ]
        two = Members(nodes, groups)
        await two.until_settled()
        theirs = [name for name in two.orgs(each=2) if two.owner(name) is nodes[0]]
        for org_id, settings in zip(theirs, (allow, {}), strict=True):
            first = settings if created_with_it else {}
            org = {"org_id": org_id, "name": org_id, "settings": first}
            assert (await nodes[1].ask("POST", "/admin/orgs", org)).status == 201
            change = {"settings": settings}
            changed = await nodes[1].ask("PATCH", f"/admin/orgs/{org_id}", change, key="k")
            assert changed.status == 200
            topup = {"org_id": org_id, "amount_pence": 1000, "type": "topup"}
            assert (await nodes[1].ask("POST", "/v1/credit", topup, key="t")).status == 201
            who = {"org_id": org_id, "default": True}
            assert (await nodes[1].ask("PUT", f"/admin/assistants/{org_id}", who)).status == 201
        await of(nodes[0])._server.close(grace_s=0)  # alive by its leases, and deaf

        allowed, refused = [await rings(two, 1, org_id, f"call-{org_id}") for org_id in theirs]

    assert (allowed.status, allowed["assistantId"]) == (200, theirs[0])
    assert allowed["assistantOverrides"]["maxDurationSeconds"] == 120
    assert list(refused.body) == ["error"]
