"""What can be wrong with a batch: the writer's belief, or an entry that cannot be stored.

Each takes a batch, and the place of one of its entries, and returns the spoiled batch.
"""

from collections.abc import Callable, Mapping

from wallet_engine.ports import WalletBatch
from wallet_engine.wallet import Entry

Blemish = Callable[[WalletBatch, int], WalletBatch]

BIGINT_MIN, BIGINT_MAX = -(2**63), 2**63 - 1


def _with_entry(batch: WalletBatch, at: int, changed: Callable[[Entry], Entry]) -> WalletBatch:
    entries = list(batch.entries)
    place = at % len(entries)
    entries[place] = changed(entries[place])
    return batch._replace(entries=entries)


# --- a writer that is wrong ----------------------------------------------------------------


def older_epoch(batch: WalletBatch, _at: int) -> WalletBatch:
    return batch._replace(epoch=batch.epoch - 1)


def newer_epoch(batch: WalletBatch, _at: int) -> WalletBatch:
    return batch._replace(epoch=batch.epoch + 1)


def other_owner(batch: WalletBatch, _at: int) -> WalletBatch:
    return batch._replace(owner="boot-9")


def no_owner(batch: WalletBatch, _at: int) -> WalletBatch:
    return batch._replace(owner="")


def older_seq(batch: WalletBatch, _at: int) -> WalletBatch:
    return batch._replace(expected_seq=batch.expected_seq - 1)


def newer_seq(batch: WalletBatch, _at: int) -> WalletBatch:
    return batch._replace(expected_seq=batch.expected_seq + 1)


def other_balance(batch: WalletBatch, _at: int) -> WalletBatch:
    return batch._replace(balance_before_pence=batch.balance_before_pence + 1)


def unknown_wallet(batch: WalletBatch, _at: int) -> WalletBatch:
    entries = [entry._replace(org_id="nobody") for entry in batch.entries]
    return batch._replace(org_id="nobody", entries=entries)


# --- an entry that cannot be -----------------------------------------------------------------


def same_key_twice(batch: WalletBatch, at: int) -> WalletBatch:
    return _with_entry(batch, at, lambda entry: entry._replace(key=batch.entries[0].key))


def key_of_the_opening(batch: WalletBatch, at: int) -> WalletBatch:
    return _with_entry(batch, at, lambda entry: entry._replace(key="client:opening"))


def less_than_nothing_held(batch: WalletBatch, at: int) -> WalletBatch:
    return _with_entry(batch, at, lambda entry: entry._replace(held_after_pence=-1))


def no_such_type(batch: WalletBatch, at: int) -> WalletBatch:
    return _with_entry(batch, at, lambda entry: entry._replace(type="magic"))


def seq_of_the_first(batch: WalletBatch, at: int) -> WalletBatch:
    return _with_entry(batch, at, lambda entry: entry._replace(seq=1))


def no_seq(batch: WalletBatch, at: int) -> WalletBatch:
    return _with_entry(batch, at, lambda entry: entry._replace(seq=0))


def a_gap(batch: WalletBatch, _at: int) -> WalletBatch:
    """The ledgers do not count: they take what does not collide, and the audit tells."""
    return _with_entry(batch, -1, lambda entry: entry._replace(seq=entry.seq + 3))


# --- the largest numbers -----------------------------------------------------------------------


def _balance(batch: WalletBatch, pence: int) -> WalletBatch:
    def moved(entry: Entry) -> Entry:
        wanted = pence - entry.balance_before_pence
        return entry._replace(amount_pence=max(BIGINT_MIN, min(BIGINT_MAX, wanted)))

    return _with_entry(batch, -1, moved)


def as_much_as_there_can_be(batch: WalletBatch, _at: int) -> WalletBatch:
    return _balance(batch, BIGINT_MAX)


def more_than_there_can_be(batch: WalletBatch, _at: int) -> WalletBatch:
    return _balance(batch, BIGINT_MAX + 1)


def as_little_as_there_can_be(batch: WalletBatch, _at: int) -> WalletBatch:
    return _balance(batch, BIGINT_MIN)


def less_than_there_can_be(batch: WalletBatch, _at: int) -> WalletBatch:
    return _balance(batch, BIGINT_MIN - 1)


def all_that_can_be_held(batch: WalletBatch, _at: int) -> WalletBatch:
    return _with_entry(batch, -1, lambda entry: entry._replace(held_after_pence=BIGINT_MAX))


BLEMISHES: Mapping[str, Blemish] = {
    blemish.__name__: blemish
    for blemish in (
        older_epoch,
        newer_epoch,
        other_owner,
        no_owner,
        older_seq,
        newer_seq,
        other_balance,
        unknown_wallet,
        same_key_twice,
        key_of_the_opening,
        less_than_nothing_held,
        no_such_type,
        seq_of_the_first,
        no_seq,
        a_gap,
        as_much_as_there_can_be,
        more_than_there_can_be,
        as_little_as_there_can_be,
        less_than_there_can_be,
        all_that_can_be_held,
    )
}
