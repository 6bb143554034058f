-- Version 0001.  Source: the specification, stored data (SPEC §7).
--
-- Money is bigint pence, times are timestamptz.  Ids are text COLLATE "C": they compare as
-- bytes, so every statement over several wallets sorts, and so locks, in one order everywhere.
-- Fixed-width columns come first in the large tables: no padding, and quicker to read.
--
-- No table has a foreign key to organizations.  It would add a trigger per journal row, and
-- rows written beside the ledger would lock the wallet's row and leave it a multixact.  The
-- commit statement proves that the wallet exists by updating it; organisations are never deleted.


-- Which shard an organisation belongs to: the first byte of md5 over its id.  The same hash is
-- in wallet_engine.sharding; schema_facts names it, and start-up and `wallet verify` compare.
CREATE FUNCTION shard_of(org_id text) RETURNS smallint
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN get_byte(decode(md5(org_id), 'hex'), 0)::smallint;


CREATE TABLE schema_facts (
    singleton   boolean PRIMARY KEY DEFAULT true,
    shard_count integer NOT NULL,
    shard_hash  text    NOT NULL,
    CONSTRAINT schema_facts_one_row_check CHECK (singleton)
);
INSERT INTO schema_facts (shard_count, shard_hash) VALUES (256, 'md5-first-byte');


-- One wallet per row, written by its owner's commit lane only.  It is the fence: epoch, owner
-- and seq must be what the writer believes, else nothing is written.
--
-- No index but the primary key, ever: an update that changes no indexed column is HOT and
-- leaves nothing behind in an index.  Fillfactor 90 kept 100 % of updates HOT when measured.
CREATE TABLE organizations (
    id                   text COLLATE "C" NOT NULL,
    name                 text        NOT NULL,
    currency             text        NOT NULL DEFAULT 'GBP',
    wallet_balance_pence bigint      NOT NULL DEFAULT 0,
    held_pence           bigint      NOT NULL DEFAULT 0,
    -- NULL inherits the global default.
    debt_limit_pence     bigint               DEFAULT 500,
    -- What overrides the global defaults, the debt limit apart.
    settings             jsonb       NOT NULL DEFAULT '{}',
    suspended            boolean     NOT NULL DEFAULT false,
    shard                smallint    NOT NULL GENERATED ALWAYS AS (shard_of(id)) STORED,
    -- The boot id of the process that owns the wallet.
    owner                text COLLATE "C",
    owner_since          timestamptz,
    epoch                bigint      NOT NULL DEFAULT 0,
    -- The last journal row of this wallet, and its time.
    seq                  bigint      NOT NULL DEFAULT 0,
    last_entry_at        timestamptz,
    created_at           timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT organizations_pkey PRIMARY KEY (id),
    -- Means ^[A-Za-z0-9_.:-]{1,64}$.  Checks run at each update of the hot row, and written
    -- with a counted repetition this one tripled the cost of that update.
    CONSTRAINT organizations_id_check
        CHECK (length(id) BETWEEN 1 AND 64 AND id !~ '[^A-Za-z0-9_.:-]'),
    CONSTRAINT organizations_held_pence_check CHECK (held_pence >= 0),
    CONSTRAINT organizations_debt_limit_pence_check CHECK (debt_limit_pence >= 0),
    CONSTRAINT organizations_seq_check CHECK (seq >= 0)
) WITH (fillfactor = 90);


-- The journal: one row per decision, and (org_id, seq) is the decision.  seq has no gaps and
-- created_at never falls within an org, so a moment is found by binary search over the primary
-- key: no index on created_at.
CREATE TABLE credit_transactions (
    seq                  bigint      NOT NULL,
    -- The change of the balance: 0 for holds.
    amount_pence         bigint      NOT NULL,
    held_delta_pence     bigint      NOT NULL DEFAULT 0,
    balance_before_pence bigint      NOT NULL,
    balance_after_pence  bigint      NOT NULL,
    held_after_pence     bigint      NOT NULL,
    uncollected_pence    bigint      NOT NULL DEFAULT 0,
    epoch                bigint      NOT NULL,
    created_at           timestamptz NOT NULL,
    org_id               text COLLATE "C" NOT NULL,
    idempotency_key      text COLLATE "C" NOT NULL,
    transaction_type     text        NOT NULL,
    call_id              text COLLATE "C",
    description          text        NOT NULL DEFAULT '',
    -- A digest of the request, to tell a repeat from another request under the same key.
    fingerprint          text COLLATE "C" NOT NULL,
    node                 text        NOT NULL,
    -- What replay, explanation and the first answer need beyond the columns.
    detail               jsonb       NOT NULL DEFAULT '{}',
    CONSTRAINT credit_transactions_pkey PRIMARY KEY (org_id, seq),
    CONSTRAINT idx_credit_txn_idempotency UNIQUE (org_id, idempotency_key),
    CONSTRAINT credit_transactions_type_check CHECK (transaction_type IN (
        'topup', 'auto_recharge', 'refund', 'bonus', 'adjustment', 'clawback',
        'call_deduction',
        'reservation', 'reservation_extension', 'reservation_release', 'reservation_expiry',
        'call_kill', 'suspend', 'resume', 'settings_change',
        'phone_provisioning', 'phone_number', 'toll_free_number', 'did', 'license', 'sms',
        'seat', 'storage', 'addon'
    )),
    CONSTRAINT credit_transactions_seq_check CHECK (seq > 0),
    CONSTRAINT credit_transactions_balance_check
        CHECK (balance_after_pence = balance_before_pence + amount_pence),
    CONSTRAINT credit_transactions_held_after_check CHECK (held_after_pence >= 0)
) WITH (fillfactor = 100);

CREATE INDEX idx_credit_txn_call ON credit_transactions (org_id, call_id, seq)
    WHERE call_id IS NOT NULL;
-- To page through the rows of one type.  Not those that calls write: there are so many that a
-- page of them is soon found without, and an index more would make every call dearer.
CREATE INDEX idx_credit_txn_rare ON credit_transactions (org_id, transaction_type, seq)
    WHERE transaction_type NOT IN
        ('reservation', 'reservation_extension', 'reservation_release', 'call_deduction');


-- Every call that was ever held or settled, in its final state: an ended call keeps its row,
-- which is what refuses a late reserve.
--
-- Vacuumed early: due_at is indexed and moves, and each node reads what falls due every second
-- or two, past whatever dead index entries are left.
CREATE TABLE credit_reservations (
    -- What the hold holds, or held when it ended.
    reserved_pence          bigint      NOT NULL DEFAULT 0,
    committed_pence         bigint      NOT NULL DEFAULT 0,
    released_pence          bigint      NOT NULL DEFAULT 0,
    uncollected_pence       bigint      NOT NULL DEFAULT 0,
    -- The journal row that wrote this one last.
    seq                     bigint      NOT NULL,
    created_at              timestamptz NOT NULL,
    expires_at              timestamptz NOT NULL,
    -- The tariff that the hold was opened with.
    rate_pence_per_minute   integer     NOT NULL,
    first_increment_seconds integer     NOT NULL,
    increment_seconds       integer     NOT NULL,
    max_duration_seconds    integer     NOT NULL,
    extensions              integer     NOT NULL DEFAULT 0,
    shard                   smallint    NOT NULL GENERATED ALWAYS AS (shard_of(org_id)) STORED,
    managed                 boolean     NOT NULL DEFAULT false,
    killed                  boolean     NOT NULL DEFAULT false,
    adjusted                boolean     NOT NULL DEFAULT false,
    org_id                  text COLLATE "C" NOT NULL,
    call_id                 text COLLATE "C" NOT NULL,
    status                  text        NOT NULL,
    vapi_call_id            text COLLATE "C",
    estimated_minutes       integer,
    -- When somebody must look at the hold again; NULL once it is not active.
    due_at                  timestamptz,
    -- When it ended, however it ended.
    committed_at            timestamptz,
    -- The full cost and length at settlement, collected or not, and the rank of the proof that
    -- they rest on; NULL before.
    settled_cost_pence      bigint,
    settled_ms              bigint,
    proof                   smallint,
    kill_reason             text,
    CONSTRAINT credit_res_call_unique PRIMARY KEY (org_id, call_id),
    CONSTRAINT credit_reservations_status_check
        CHECK (status IN ('active', 'committed', 'released', 'expired')),
    CONSTRAINT credit_reservations_due_check CHECK ((status = 'active') = (due_at IS NOT NULL))
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.01);

-- due_at, because a claim reads the live holds of a wallet in that order: no other index gives
-- it, so none other is chosen, not even by a plan made while the table is empty.
CREATE INDEX idx_credit_res_org_status ON credit_reservations (org_id, status, due_at)
    WHERE status = 'active';
CREATE INDEX idx_credit_res_expires ON credit_reservations (expires_at) WHERE status = 'active';
CREATE INDEX idx_credit_res_due ON credit_reservations (shard, due_at) WHERE status = 'active';
CREATE INDEX idx_credit_res_vapi_call ON credit_reservations (vapi_call_id)
    WHERE vapi_call_id IS NOT NULL;


-- What the provider says of a call: written off the money path, never read on it.
CREATE TABLE calls (
    org_id            text COLLATE "C" NOT NULL,
    call_id           text COLLATE "C" NOT NULL,
    provider          text        NOT NULL DEFAULT 'vapi',
    type              text,
    status            text,
    assistant_id      text COLLATE "C",
    phone_number_id   text COLLATE "C",
    customer_number   text,
    -- Where the provider takes orders for the live call: a secret, never logged.
    control_url       text,
    created_at        timestamptz NOT NULL DEFAULT now(),
    started_at        timestamptz,
    ended_at          timestamptz,
    -- When we received `in-progress`: the clock of a live call starts then.
    heard_started_at  timestamptz,
    ended_reason      text,
    duration_ms       bigint,
    cost_pence        bigint,
    provider_cost_usd numeric,
    reconciled        boolean     NOT NULL DEFAULT false,
    updated_at        timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT calls_pkey PRIMARY KEY (org_id, call_id)
);

CREATE INDEX idx_calls_call ON calls (call_id);
CREATE INDEX idx_calls_reconciled ON calls (reconciled, created_at);
CREATE INDEX idx_calls_org_created ON calls (org_id, created_at);
CREATE INDEX idx_calls_cost ON calls (org_id, cost_pence);
-- For "ended lately, perhaps not settled": a query must bound ended_at from below too, else
-- nearly every call there ever was matches.
CREATE INDEX idx_calls_ended ON calls (ended_at) WHERE ended_at IS NOT NULL;


-- Who answers a call.  config NULL: only the id is sent to the provider.
CREATE TABLE assistants (
    id         text COLLATE "C" NOT NULL,
    org_id     text COLLATE "C" NOT NULL,
    is_default boolean     NOT NULL DEFAULT false,
    config     jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT assistants_pkey PRIMARY KEY (id)
);

CREATE UNIQUE INDEX idx_assistants_default ON assistants (org_id) WHERE is_default;


-- Which org a call to a number belongs to.  assistant_id NULL: the org's default answers.
CREATE TABLE phone_numbers (
    id           text COLLATE "C" NOT NULL,
    org_id       text COLLATE "C" NOT NULL,
    number       text COLLATE "C" NOT NULL,
    assistant_id text COLLATE "C",
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT phone_numbers_pkey PRIMARY KEY (id)
);

CREATE INDEX idx_phone_numbers_number ON phone_numbers (number);


-- Every webhook that came, and what was answered.  org_id and call_id are NULL when unknown.
CREATE TABLE webhook_delivery_log (
    id          bigint GENERATED ALWAYS AS IDENTITY,
    received_at timestamptz NOT NULL DEFAULT now(),
    http_status integer,
    latency_ms  integer,
    org_id      text COLLATE "C",
    call_id     text COLLATE "C",
    type        text        NOT NULL,
    status      text,
    outcome     text,
    error       text,
    detail      jsonb,
    CONSTRAINT webhook_delivery_log_pkey PRIMARY KEY (id)
);

CREATE INDEX idx_webhook_log_org_received ON webhook_delivery_log (org_id, received_at);
CREATE INDEX idx_webhook_log_call ON webhook_delivery_log (call_id);


-- The switch for the whole fleet.  Only added to: the newest row is the state.
CREATE TABLE fleet_switches (
    id              bigint GENERATED ALWAYS AS IDENTITY,
    created_at      timestamptz NOT NULL DEFAULT now(),
    engaged         boolean     NOT NULL,
    end_live_calls  boolean     NOT NULL,
    idempotency_key text COLLATE "C" NOT NULL,
    reason          text        NOT NULL,
    actor           text        NOT NULL,
    CONSTRAINT fleet_switches_pkey PRIMARY KEY (id),
    CONSTRAINT fleet_switches_idempotency_unique UNIQUE (idempotency_key)
);
