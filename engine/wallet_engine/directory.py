"""Which org a message belongs to, who answers its calls, its settings: what is stored, cached.

Mappings may be out of date for `MAPPING_MS`, on the node where they were changed not at all
(`forget_…`).  A call never changes its org.  Source: SPEC §5.1.
"""

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import NamedTuple

from .errors import LedgerError, LedgerUnavailable
from .lookups import K, Lookups, V
from .ports import Assistant, Clock, DirectoryStore, Org, PhoneNumber
from .settings import Overrides
from .texts import ORG_ID

MAPPING_MS = 10_000
"""How long a mapping is believed: an operator's change is live everywhere after this."""

CALL_MS = 24 * 3_600_000
"""How long the org of a call is remembered: twice the longest call that Vapi allows."""

MISSING_MS = 1_000
"""How long an absence is believed: a repeated unknown id costs one look-up a second."""

CALLS_MAX = 131_072
"""Calls remembered: the 100,000 live ones that a node shall carry, and some that just ended."""

MAPPINGS_MAX = 16_384
"""Mappings remembered of each kind: some megabytes."""


class Source(StrEnum):
    """What told the org of a message."""

    CALL = "call"
    PATH = "path"
    NUMBER = "number"
    ASSISTANT = "assistant"
    NOTHING = "nothing"


class MessageIds(NamedTuple):
    """What a message says of where it belongs; an empty text says nothing."""

    call_id: str = ""
    path_org_id: str = ""
    phone_number_id: str = ""
    number: str = ""
    assistant_id: str = ""


class Located(NamedTuple):
    """The org of a message, or None, and what told it.

    `conflict`: the path names another org than the one that the call belongs to.
    """

    org_id: str | None
    source: Source
    conflict: bool = False


NOWHERE = Located(None, Source.NOTHING)


class Recollection(NamedTuple):
    """Whose a call is and who answers it, as it was last known."""

    org_id: str
    assistant: Assistant
    overrides: Overrides


class Directory:
    """Answers from memory what it can, and asks the store for the rest.

    Every coroutine may raise `LedgerUnavailable`: the store could not be asked.
    """

    def __init__(self, store: DirectoryStore, clock: Clock) -> None:
        self._store = store
        now_ms = clock.now_ms
        self._calls: Lookups[str, str] = Lookups(
            now_ms, capacity=CALLS_MAX, found_ms=CALL_MS, missing_ms=MISSING_MS
        )
        self._orgs: Lookups[str, Org] = _mappings(now_ms)
        self._numbers: Lookups[tuple[str, str], PhoneNumber] = _mappings(now_ms)
        self._assistants: Lookups[str, Assistant] = _mappings(now_ms)
        self._defaults: Lookups[str, Assistant] = _mappings(now_ms)

    # --- what changed -----------------------------------------------------------------------

    def note_call(self, call_id: str, org_id: str) -> None:
        """A call was admitted for an org, or is in progress: that is its org from now on."""
        self._calls.keep(call_id, org_id)

    def forget_assistant(self, assistant_id: str) -> None:
        """An assistant was changed; it may have become, or ceased to be, an org's default."""
        self._assistants.forget(assistant_id)
        self._defaults.clear()

    def forget_number(self, phone_number_id: str) -> None:  # noqa: ARG002  # see below
        """A number was changed.  It may have been looked up by any text, so all are forgotten."""
        self._numbers.clear()

    def forget_org(self, org_id: str) -> None:
        """An org was created or changed."""
        self._orgs.forget(org_id)
        self._defaults.forget(org_id)

    # --- whose it is ------------------------------------------------------------------------

    def org_of_known_call(self, call_id: str) -> str | None:
        """Return the org of a call that this node remembers; asks nobody."""
        return self._calls.remembered(call_id)

    async def org_of_message(self, ids: MessageIds) -> Located:
        """Say which org a message belongs to: by its call, its path, its number, its assistant.

        A path that names no org is not passed over: the message belongs to none.
        """
        org_id = await self._org_of_call(ids.call_id)
        path = ids.path_org_id
        if org_id is not None:
            return Located(org_id, Source.CALL, conflict=bool(path) and path != org_id)
        if path:
            known = await self._org(path) if ORG_ID.fullmatch(path) else None
            return Located(path if known is not None else None, Source.PATH)
        number = await self._number(ids.phone_number_id, ids.number)
        if number is not None:
            return Located(number.org_id, Source.NUMBER)
        assistant = await self._assistant(ids.assistant_id)
        if assistant is not None:
            return Located(assistant.org_id, Source.ASSISTANT)
        return NOWHERE

    async def answering(
        self, org_id: str, *, phone_number_id: str, number: str, assistant_id: str
    ) -> Assistant | None:
        """Say who answers a call of `org_id`, or None if nobody can.

        That is the assistant which the request names, else that of the number, else the
        org's default.  What belongs to another org is passed over.
        """
        named = await self._assistant(assistant_id)
        if named is not None and named.org_id == org_id:
            return named
        rung = await self._number(phone_number_id, number)
        if rung is not None and rung.org_id == org_id and rung.assistant_id:
            mapped = await self._assistant(rung.assistant_id)
            if mapped is None:
                return _at_vapi_alone(rung)
            if mapped.org_id == org_id:
                return mapped
        return await self._default(org_id)

    async def overrides(self, org_id: str) -> Overrides:
        """Return what an org overrides of the defaults, as every node can read it.

        Its wallet knows better, but that is in the memory of one node only.
        """
        org = await self._org(org_id)
        return {} if org is None else org.overrides

    def recollect(self, ids: MessageIds) -> Recollection | None:
        """Say from memory whose a new call is and who answers it; asks nobody.

        For when the store cannot be asked: it may be out of date by as long as that lasts.  What
        was never looked up, or looked up in vain, is nothing to build on.
        """
        number = self._numbers.last_known((ids.phone_number_id, ids.number))
        named = self._assistants.last_known(ids.assistant_id)
        if ids.assistant_id and named is None:
            return None
        by_number = number.org_id if number is not None else ""
        org_id = ids.path_org_id or by_number or (named.org_id if named is not None else "")
        mapped = None
        if number is not None and number.org_id == org_id and number.assistant_id:
            mapped = self._assistants.last_known(number.assistant_id) or _at_vapi_alone(number)
        for assistant in (named, mapped, self._defaults.last_known(org_id)):
            if assistant is not None and assistant.org_id == org_id:
                org = self._orgs.last_known(org_id)
                return Recollection(org_id, assistant, {} if org is None else org.overrides)
        return None

    # --- one look-up each -------------------------------------------------------------------

    async def _org_of_call(self, call_id: str) -> str | None:
        if not call_id:
            return None
        store = self._store
        return await self._calls.get(call_id, lambda: _asked(store.org_of_call(call_id)))

    async def _org(self, org_id: str) -> Org | None:
        return await self._orgs.get(org_id, lambda: _asked(self._store.org(org_id)))

    async def _number(self, phone_number_id: str, number: str) -> PhoneNumber | None:
        if not phone_number_id and not number:
            return None
        store = self._store
        return await self._numbers.get(
            (phone_number_id, number), lambda: _asked(store.number(phone_number_id, number))
        )

    async def _assistant(self, assistant_id: str) -> Assistant | None:
        if not assistant_id:
            return None
        store = self._store
        return await self._assistants.get(
            assistant_id, lambda: _asked(store.assistant(assistant_id))
        )

    async def _default(self, org_id: str) -> Assistant | None:
        store = self._store
        return await self._defaults.get(org_id, lambda: _asked(store.default_assistant(org_id)))


def _at_vapi_alone(number: PhoneNumber) -> Assistant:
    """Return the assistant of a number that is known at Vapi alone: its id is enough."""
    assert number.assistant_id
    return Assistant(
        assistant_id=number.assistant_id, org_id=number.org_id, default=False, config_json=None
    )


def _mappings(now_ms: Callable[[], int]) -> Lookups[K, V]:
    return Lookups(now_ms, capacity=MAPPINGS_MAX, found_ms=MAPPING_MS, missing_ms=MISSING_MS)


async def _asked(answer: Awaitable[V]) -> V:
    """Wait for the store; what a ledger raises becomes what callers may see."""
    try:
        return await answer
    except LedgerError as error:
        raise LedgerUnavailable("The directory cannot be asked now.") from error
