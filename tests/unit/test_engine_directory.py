"""Whose a message is and who answers it: the order of SPEC §5.1, and what may be remembered."""

import asyncio
from dataclasses import replace

import pytest

from wallet_engine.directory import (
    CALL_MS,
    MAPPING_MS,
    MISSING_MS,
    NOWHERE,
    Directory,
    Located,
    MessageIds,
    Source,
)
from wallet_engine.errors import LedgerBusy, LedgerUnavailable, OutcomeUnknown
from wallet_engine.ports import Assistant, Org, PhoneNumber
from wallet_testing.clock import ManualClock
from wallet_testing.vapi_world import MemoryDirectory


def assistant(assistant_id: str, org_id: str, *, default: bool = False) -> Assistant:
    return Assistant(assistant_id=assistant_id, org_id=org_id, default=default, config_json=None)


def number(number_id: str, org_id: str, text: str, assistant_id: str | None) -> PhoneNumber:
    return PhoneNumber(
        phone_number_id=number_id, org_id=org_id, number=text, assistant_id=assistant_id
    )


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store() -> MemoryDirectory:
    """Give two orgs: acme with a number, an assistant and a default; other with an assistant."""
    store = MemoryDirectory()
    for org_id in ("acme", "other"):
        store.orgs[org_id] = Org(org_id=org_id, name=org_id, created_ms=0)
    for one in (
        assistant("desk", "acme"),
        assistant("acme-default", "acme", default=True),
        assistant("spy", "other"),
    ):
        store.assistants[one.assistant_id] = one
    store.numbers["n1"] = number("n1", "acme", "+44", "desk")
    store.numbers["n2"] = number("n2", "other", "+1", None)
    store.calls["live"] = "acme"
    return store


@pytest.fixture
def directory(store: MemoryDirectory, clock: ManualClock) -> Directory:
    return Directory(store, clock)


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (MessageIds(), NOWHERE),
        (MessageIds(call_id="live"), Located("acme", Source.CALL)),
        (
            MessageIds(call_id="live", path_org_id="acme", phone_number_id="n2"),
            Located("acme", Source.CALL),
        ),
        (
            MessageIds(call_id="live", path_org_id="other"),
            Located("acme", Source.CALL, conflict=True),
        ),
        (
            MessageIds(call_id="live", path_org_id="nobody"),
            Located("acme", Source.CALL, conflict=True),
        ),
        (
            MessageIds(call_id="new", path_org_id="other", phone_number_id="n1"),
            Located("other", Source.PATH),
        ),
        (MessageIds(path_org_id="nobody", phone_number_id="n1"), Located(None, Source.PATH)),
        (MessageIds(path_org_id="no\0body"), Located(None, Source.PATH)),
        (
            MessageIds(call_id="new", phone_number_id="n2", number="+44", assistant_id="desk"),
            Located("other", Source.NUMBER),
        ),
        (MessageIds(phone_number_id="lost", number="+44"), Located("acme", Source.NUMBER)),
        (MessageIds(number="+44", assistant_id="spy"), Located("acme", Source.NUMBER)),
        (
            MessageIds(phone_number_id="lost", number="+99", assistant_id="spy"),
            Located("other", Source.ASSISTANT),
        ),
        (MessageIds(assistant_id="lost"), NOWHERE),
    ],
)
async def test_the_org_of_a_message(
    directory: Directory, ids: MessageIds, expected: Located
) -> None:
    """The call, else the path, else the number, else the assistant tells the org."""
    assert await directory.org_of_message(ids) == expected


@pytest.mark.parametrize(
    ("org_id", "number_id", "text", "assistant_id", "expected"),
    [
        ("acme", "n1", "", "", "desk"),
        ("acme", "", "+44", "", "desk"),
        ("acme", "", "", "", "acme-default"),
        ("acme", "lost", "+99", "", "acme-default"),
        ("acme", "n1", "", "acme-default", "acme-default"),
        ("acme", "n1", "", "spy", "desk"),
        ("acme", "", "", "lost", "acme-default"),
        ("acme", "n2", "", "", "acme-default"),
        ("other", "n2", "", "", None),
        ("other", "n1", "", "", None),
        ("other", "", "", "desk", None),
        ("nobody", "", "", "", None),
    ],
)
async def test_who_answers(
    directory: Directory,
    org_id: str,
    number_id: str,
    text: str,
    assistant_id: str,
    expected: str | None,
) -> None:
    """The assistant that is named, else the number's, else the default; never another org's."""
    found = await directory.answering(
        org_id, phone_number_id=number_id, number=text, assistant_id=assistant_id
    )

    assert (found and found.assistant_id) == expected


async def test_an_assistant_known_at_vapi_alone_answers_by_its_id(
    directory: Directory, store: MemoryDirectory
) -> None:
    """A number may be mapped to an assistant that was never stored here."""
    store.numbers["n1"] = number("n1", "acme", "+44", "elsewhere")

    found = await directory.answering("acme", phone_number_id="n1", number="", assistant_id="")
    assert found == assistant("elsewhere", "acme")


async def test_a_number_mapped_to_another_orgs_assistant_falls_back(
    directory: Directory, store: MemoryDirectory
) -> None:
    """A mapping across orgs would let one org's assistant speak for another."""
    store.numbers["n1"] = number("n1", "acme", "+44", "spy")

    found = await directory.answering("acme", phone_number_id="n1", number="", assistant_id="")
    assert found is not None
    assert found.assistant_id == "acme-default"


async def test_an_admitted_call_is_known_without_asking(
    directory: Directory, store: MemoryDirectory, clock: ManualClock
) -> None:
    """A call that was unknown a moment ago is known as soon as it is admitted, all day."""
    assert await directory.org_of_message(MessageIds(call_id="c")) == NOWHERE
    directory.note_call("c", "acme")
    asked = len(store.asked)
    clock.advance(ms=CALL_MS - 1)

    assert directory.org_of_known_call("c") == "acme"
    assert await directory.org_of_message(MessageIds(call_id="c")) == Located("acme", Source.CALL)
    assert len(store.asked) == asked


async def test_a_mapping_is_believed_for_seconds(
    directory: Directory, store: MemoryDirectory, clock: ManualClock
) -> None:
    """A change made on another node is seen when the mapping's time is over."""
    ids = MessageIds(phone_number_id="n1")
    assert (await directory.org_of_message(ids)).org_id == "acme"
    store.numbers["n1"] = number("n1", "other", "+44", None)
    clock.advance(ms=MAPPING_MS - 1)
    assert (await directory.org_of_message(ids)).org_id == "acme"
    clock.advance(ms=1)

    assert (await directory.org_of_message(ids)).org_id == "other"


async def test_an_absence_is_believed_for_a_second(
    directory: Directory, store: MemoryDirectory, clock: ManualClock
) -> None:
    """A call that another node admits is known here within a second."""
    ids = MessageIds(call_id="c")
    assert await directory.org_of_message(ids) == NOWHERE
    store.calls["c"] = "acme"
    assert await directory.org_of_message(ids) == NOWHERE
    assert store.asked == [("call", "c")]
    clock.advance(ms=MISSING_MS)

    assert await directory.org_of_message(ids) == Located("acme", Source.CALL)


async def test_a_change_here_is_seen_at_once(directory: Directory, store: MemoryDirectory) -> None:
    """What an operator changes on this node is looked up again."""

    async def answers() -> str | None:
        found = await directory.answering(
            "acme", phone_number_id="n1", number="+44", assistant_id=""
        )
        return None if found is None else found.assistant_id

    assert await answers() == "desk"
    store.numbers["n1"] = number("n1", "acme", "+44", None)
    directory.forget_number("n1")
    assert await answers() == "acme-default"

    store.assistants["acme-default"] = assistant("acme-default", "acme")
    store.assistants["desk"] = assistant("desk", "acme", default=True)
    directory.forget_assistant("desk")
    assert await answers() == "desk"

    del store.assistants["desk"]
    directory.forget_org("acme")
    assert await answers() is None

    assert await directory.org_of_message(MessageIds(path_org_id="new")) == Located(
        None, Source.PATH
    )
    store.orgs["new"] = Org(org_id="new", name="new", created_ms=0)
    directory.forget_org("new")
    assert await directory.org_of_message(MessageIds(path_org_id="new")) == Located(
        "new", Source.PATH
    )


async def test_what_an_org_overrides_is_remembered(
    directory: Directory, store: MemoryDirectory, clock: ManualClock
) -> None:
    """One look-up in seconds, which a message to the org's path shares; a change here is seen."""
    acme = store.orgs["acme"] = replace(store.orgs["acme"], overrides={"max_call_seconds": 60})
    await directory.org_of_message(MessageIds(path_org_id="acme"))
    for _ in range(3):
        assert await directory.overrides("acme") == {"max_call_seconds": 60}
    assert await directory.overrides("nobody") == {}
    assert store.asked == [("org", "acme"), ("org", "nobody")]

    store.orgs["acme"] = replace(acme, overrides={})
    clock.advance(ms=MAPPING_MS - 1)
    assert await directory.overrides("acme") == {"max_call_seconds": 60}
    clock.advance(ms=1)
    assert await directory.overrides("acme") == {}
    store.orgs["acme"] = acme
    directory.forget_org("acme")
    assert await directory.overrides("acme") == {"max_call_seconds": 60}


@pytest.mark.parametrize("trouble", [LedgerBusy("full"), OutcomeUnknown("lost")])
async def test_a_store_that_cannot_be_asked(
    directory: Directory, store: MemoryDirectory, trouble: Exception
) -> None:
    """Its troubles surface as one error that callers know; what is remembered still counts."""
    directory.note_call("c", "acme")
    store.trouble = trouble

    for ids in (
        MessageIds(call_id="x"),
        MessageIds(path_org_id="acme"),
        MessageIds(number="+44"),
        MessageIds(assistant_id="desk"),
    ):
        with pytest.raises(LedgerUnavailable):
            await directory.org_of_message(ids)
    with pytest.raises(LedgerUnavailable):
        await directory.answering("acme", phone_number_id="", number="", assistant_id="")
    assert await directory.org_of_message(MessageIds(call_id="c")) == Located("acme", Source.CALL)


async def test_a_burst_for_one_number_asks_once(
    directory: Directory, store: MemoryDirectory
) -> None:
    """A hundred messages that miss the same number cost one look-up."""
    store.stalled = asyncio.Event()
    asking = [
        asyncio.create_task(directory.org_of_message(MessageIds(number="+44"))) for _ in range(100)
    ]
    await asyncio.sleep(0)  # lets each of them reach the store
    store.stalled.set()

    found = await asyncio.gather(*asking)
    assert set(found) == {Located("acme", Source.NUMBER)}
    assert store.asked == [("number", "", "+44")]
