"""Commands as Hypothesis draws them: few names, so that they meet, and numbers at every edge."""

from typing import Any, NamedTuple

from hypothesis import strategies as st

from wallet_engine.commands import REASON_MAX, AssetType, Command, CreditType, Proof
from wallet_engine.settings import OVERRIDABLE, PENCE_MAX, CapPolicy
from wallet_engine.texts import DESCRIPTION_MAX

from . import builders

LONG_ORG = "Z.:-_9" * 10 + "zzzz"
"""As long as an id may be."""

ORGS = ("org-1", "org-2", "a", LONG_ORG)

BEYOND = "\N{MUSICAL SYMBOL G CLEF}"
"""A character of four bytes: two units where texts are UTF-16."""

CALLS = ("c", "d", "e", "naïve «call»", BEYOND * 128)
KEYS = ("k1", "k2", "k3", "k4", "ключ \\ {x,y} \"'", BEYOND * 255)


class Wish(NamedTuple):
    """A command for whichever wallet it is drawn: `builders.<verb>(**values)`."""

    verb: str
    values: dict[str, Any]

    def command(self, org_id: str) -> Command:
        """Return the command to one wallet."""
        made = getattr(builders, self.verb)(org_id=org_id, **self.values)
        assert isinstance(made, Command)
        return made


calls = st.sampled_from(CALLS)
keys = st.sampled_from(KEYS)
pence = st.one_of(st.integers(1, 2000), st.sampled_from([1, 56, 79, PENCE_MAX]))
durations = st.one_of(st.integers(0, 900_000), st.sampled_from([0, 1, 60_000, 10**10]))


def texts(longest: int) -> st.SearchStrategy[str]:
    """Draw texts that a command may hold: anything but NUL and lone surrogates."""
    drawn = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
    edges = ["x", "\x1f", '{"a": [1]} \\N \\u0000 ,NULL', BEYOND * longest]
    return st.one_of(st.sampled_from(edges), drawn)


reasons = texts(REASON_MAX).map(lambda text: text or "x")
descriptions = texts(DESCRIPTION_MAX)
changes = st.fixed_dictionaries(
    {},
    optional={
        "rate_pence_per_minute": st.sampled_from([None, 0, 1, 600]),
        "hold_minutes": st.sampled_from([None, 1, 1440]),
        "debt_limit_pence": st.sampled_from([None, 0, 1, PENCE_MAX]),
        "asset_prices": st.sampled_from([None, {}, {"did": 0}, {"did:US": PENCE_MAX, BEYOND: 1}]),
        "cap_policy": st.sampled_from([None, CapPolicy.MAX_CALL]),
        "prepaid_billing": st.sampled_from([None, True, False]),
    },
)


def _wish(verb: str, **values: st.SearchStrategy[Any]) -> st.SearchStrategy[Wish]:
    return st.builds(Wish, st.just(verb), st.fixed_dictionaries(values))


_about_calls = st.one_of(
    _wish("reserve", call_id=calls, minutes=st.sampled_from([None, 1, 1440])),
    _wish("reserve", call_id=calls, pence=pence),
    _wish("admit", call_id=calls),
    _wish("admit", call_id=calls),
    _wish("extend", call_id=calls, seconds=st.sampled_from([1, 61, 10**7])),
    _wish("extend", call_id=calls, pence=pence, key=keys),
    _wish("prolong", call_id=calls),
    _wish(
        "commit",
        call_id=calls,
        ms=durations,
        proof=st.sampled_from(Proof),
        strict=st.booleans(),
    ),
    _wish("commit", call_id=calls, pence=st.one_of(st.just(0), pence)),
    _wish("release", call_id=calls, reason=reasons),
    _wish("expire", call_id=calls),
    _wish("kill", call_id=calls, reason=reasons, key=st.one_of(st.none(), keys)),
)

_about_money = st.one_of(
    _wish("charge", pence=pence, key=keys, description=descriptions),
    _wish("buy", pence=pence, key=keys, type=st.sampled_from(AssetType)),
    _wish(
        "credit",
        pence=pence,
        key=keys,
        type=st.sampled_from(sorted(set(CreditType) - {CreditType.CLAWBACK})),
        description=descriptions,
    ),
    _wish(
        "credit",
        pence=pence.map(lambda amount: -amount),
        key=keys,
        type=st.sampled_from([CreditType.CLAWBACK, CreditType.ADJUSTMENT]),
    ),
    _wish("suspend", key=keys, reason=reasons),
    _wish("resume", key=keys, reason=reasons),
    _wish("change_settings", key=keys, changes=changes),
    _wish("change_settings", key=keys, changes=st.just(dict.fromkeys(OVERRIDABLE))),
)

wishes = st.one_of(_about_calls, _about_money)
