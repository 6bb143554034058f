"""How facts about a call add up, in whatever order they come."""

from wallet_engine.ports import CallFacts
from wallet_persistence.calls import merged


def facts(**told: object) -> CallFacts:
    return CallFacts(org_id="org-1", call_id="call-1", **told)  # type: ignore[arg-type]  # fields


def test_what_is_not_told_stays() -> None:
    """None leaves what is known; what is told replaces it."""
    before = facts(type="inboundPhoneCall", status="ringing", cost_pence=5)

    after = merged(before, facts(status="in-progress", started_ms=7))

    assert after == facts(type="inboundPhoneCall", status="in-progress", cost_pence=5, started_ms=7)


def test_an_ended_call_stays_ended() -> None:
    """A late message about an earlier state does not revive a call."""
    assert merged(facts(status="ended"), facts(status="in-progress")).status == "ended"
    assert merged(facts(status="in-progress"), facts(status="ended")).status == "ended"


def test_the_first_word_of_the_start_counts() -> None:
    """A repeated `in-progress` does not move the start of a call's clock."""
    assert merged(facts(heard_started_ms=5), facts(heard_started_ms=9)).heard_started_ms == 5
    assert merged(facts(heard_started_ms=9), facts(heard_started_ms=5)).heard_started_ms == 5
    assert merged(facts(), facts(heard_started_ms=5)).heard_started_ms == 5
    assert merged(facts(heard_started_ms=5), facts()).heard_started_ms == 5
