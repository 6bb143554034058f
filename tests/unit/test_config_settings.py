"""The settings: where they come from, what is refused, and what is never shown."""

import os
from pathlib import Path

import pytest
from pydantic import BaseModel

from wallet_config import Settings, SettingsError, load_settings
from wallet_engine.settings import Settings as WalletSettings

ROOT = Path(__file__).parents[2]
SECRET = "s3cret-" * 8
PEM = "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the settings of whoever runs the tests."""
    for name in [name for name in os.environ if name.upper().startswith("WALLET_")]:
        monkeypatch.delenv(name)


def load(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return load_settings()


def load_toml(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str, **more: str) -> Settings:
    path = folder / "wallet.toml"
    path.write_text(text)
    return load(monkeypatch, WALLET_CONFIG=str(path), **more)


def test_without_any_setting_the_defaults_hold() -> None:
    """A fresh clone starts in development, on this machine, with embedded servers."""
    settings = load_settings()

    assert settings.environment == "development"
    assert (settings.http.host, settings.http.port) == ("127.0.0.1", 3001)
    assert settings.postgres.dsn is None
    assert settings.node.id


def test_the_example_file_prints_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the example shows is what holds without it, so it can be copied line by line."""
    defaults = load_settings()

    assert load(monkeypatch, WALLET_CONFIG=str(ROOT / "config/wallet.example.toml")) == defaults


def test_the_example_file_names_every_setting() -> None:
    """A setting that is added must be shown to operators, if only as a comment."""
    text = (ROOT / "config/wallet.example.toml").read_text()
    rarely_needed = {"bearer_token", "jwt_public_key"}

    for model in groups_of(Settings):
        for name in model.model_fields:
            assert name in text or name in rarely_needed


def test_environment_goes_before_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A variable overrides its setting in the file, and leaves the rest of the group alone."""
    text = "[http]\nport = 4000\nhost = '0.0.0.0'\n"

    settings = load_toml(monkeypatch, tmp_path, text, WALLET_HTTP__PORT="4001")

    assert (settings.http.host, settings.http.port) == ("0.0.0.0", 4001)  # noqa: S104  # not bound


def test_a_nested_optional_group_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """One variable switches HMAC on, and its other fields keep their defaults."""
    settings = load(monkeypatch, WALLET_VAPI__HMAC__SECRET="k", WALLET_VAPI__HMAC__PREFIX="v1=")

    assert settings.vapi.hmac is not None
    assert (settings.vapi.hmac.prefix, settings.vapi.hmac.algorithm) == ("v1=", "sha256")


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compose file that passes an empty secret on has not set one."""
    assert not load(monkeypatch, WALLET_VAPI__SECRET="").vapi.is_authenticated


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("colour = 'red'", "WALLET_COLOUR (colour in TOML): there is no such setting"),
        ("[http]\nprot = 1", "WALLET_HTTP__PROT (http.prot in TOML): there is no such setting"),
        ("[http]\nport = 'x'", "WALLET_HTTP__PORT (http.port in TOML)"),
        ("[vapi.hmac]\nskew_s = 1", "WALLET_VAPI__HMAC__SECRET (vapi.hmac.secret in TOML)"),
        ("[http", "is not TOML"),
    ],
)
def test_a_wrong_file_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, named: str
) -> None:
    """The error names the setting, in both ways of writing it."""
    with pytest.raises(SettingsError) as error:
        load_toml(monkeypatch, tmp_path, text)

    assert named in str(error.value)


def test_a_missing_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A misspelt path must not mean: the defaults."""
    with pytest.raises(SettingsError, match="there is no file"):
        load(monkeypatch, WALLET_CONFIG=str(tmp_path / "absent.toml"))


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("WALLET_HTPP__PORT", "1", "WALLET_HTPP__PORT: there is no such setting"),
        ("WALLET_HTTP__PROT", "1", "there is no such setting"),
        ("WALLET_HTTP__VAPI_DEADLINE_S", "7.5", "less than 7.5"),
        ("WALLET_HTTP__METRICS_PORT", "3001", "must differ"),
        ("WALLET_HTTP__VAPI_BODY_MAX_BYTES", "1024", "must not be below"),
        ("WALLET_AUTH__JWT_SECRET", "x" * 31, "at least 32 bytes"),
        ("WALLET_AUTH__JWT_PUBLIC_KEY", "-----BEGIN PRIVATE KEY-----", "public key in PEM"),
        ("WALLET_AUTH__JWKS_URL", "file:///keys", "https://"),
        ("WALLET_VAPI__HMAC", "{", "WALLET_VAPI__HMAC"),
        ("WALLET_HTTP", "{", "want JSON"),
        ("WALLET_VAPI__SPOKEN_ENDING", " ", "must not be blank"),
        ("WALLET_POSTGRES__DSN", "mysql://x", "postgresql://"),
        ("WALLET_POSTGRES__LOCK_TIMEOUT_MS", "5001", "must not be above"),
        ("WALLET_POSTGRES__POOL_CONNECTIONS_MIN", "9", "must not be above"),
        ("WALLET_REDIS__URL", "http://x", "redis://"),
        ("WALLET_REDIS__URL", "redis://cache", "set WALLET_CLUSTER__SECRET"),
        ("WALLET_REDIS__PREFIX", "{wallet}", "pattern"),
        ("WALLET_CLUSTER__SECRET", "x" * 15, "at least 16 bytes"),
        ("WALLET_CLUSTER__HOST", "0.0.0.0", "set WALLET_CLUSTER__ADDRESS"),  # noqa: S104  # not bound
        ("WALLET_CLUSTER__ADDRESS", "node-1", "must be host:port"),
        ("WALLET_CLUSTER__ADDRESS", "node-1:0", "must be host:port"),
        ("WALLET_CLUSTER__ADDRESS", "node-1:65536", "must be host:port"),
        ("WALLET_CLUSTER__ADDRESS", "http://node-1:7420", "must be host:port"),
        ("WALLET_CLUSTER__ADDRESS", "0.0.0.0:7420", "nobody can connect there"),
        ("WALLET_ENGINE__BATCH_ENTRIES_PER_WALLET", "513", "must not be above"),
        ("WALLET_ENGINE__UNDURABLE_PER_WALLET", "65537", "must not be above"),
        ("WALLET_DEFAULTS__CAP_POLICY", "none", "affordable"),
        ("WALLET_PUBLIC_URL", "wallet.example.com", "https://"),
        ("WALLET_NODE__ID", "a b", "pattern"),
    ],
)
def test_a_wrong_variable_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    """A value out of its bounds, or against another one, stops the start."""
    with pytest.raises(SettingsError) as error:
        load(monkeypatch, **{name: value})

    assert sentence in str(error.value)


@pytest.mark.parametrize("address", ["node-1:7420", "10.0.0.7:1", "[fd00::7]:65535"])
def test_where_other_nodes_find_this_one(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """With an address of its own a node may listen everywhere."""
    everywhere = {"WALLET_CLUSTER__HOST": "0.0.0.0", "WALLET_CLUSTER__ADDRESS": address}  # noqa: S104  # not bound

    assert load(monkeypatch, **everywhere).cluster.address == address


def test_a_node_among_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address of a Redis and a secret are enough."""
    settings = load(monkeypatch, WALLET_REDIS__URL="redis://cache", WALLET_CLUSTER__SECRET="x" * 16)

    assert (settings.cluster.host, settings.cluster.port) == ("127.0.0.1", 7420)
    assert settings.cluster.address is None
    assert settings.redis.prefix == "wallet"


def test_a_foreign_variable_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes sets WALLET_PORT for a service of that name; it is not ours."""
    assert load(monkeypatch, WALLET_PORT="tcp://10.0.0.1:80").http.port == 3001


@pytest.mark.parametrize(
    ("payload_format", "is_accepted"),
    [
        ("{timestamp}.{body}", True),
        ("{body}", True),
        ("{timestamp}", False),
        ("{body}{body}", False),
        ("{svix-id}.{body}", True),
        ("{nonce}.{body}", False),
        ("{body}.{", False),
    ],
)
def test_what_hmac_signs(
    monkeypatch: pytest.MonkeyPatch, payload_format: str, is_accepted: bool
) -> None:
    """A format must hold the body, else a signature would prove nothing."""
    variables = {
        "WALLET_VAPI__HMAC__SECRET": "k",
        "WALLET_VAPI__HMAC__PAYLOAD_FORMAT": payload_format,
    }

    if is_accepted:
        hmac = load(monkeypatch, **variables).vapi.hmac
        assert hmac is not None
        assert hmac.payload_format == payload_format
    else:
        with pytest.raises(SettingsError, match=r"payload_format"):
            load(monkeypatch, **variables)


@pytest.mark.parametrize(
    ("variables", "algorithms"),
    [
        ({"WALLET_AUTH__JWT_SECRET": SECRET}, ("HS256",)),
        ({"WALLET_AUTH__JWT_PUBLIC_KEY": PEM}, ("RS256", "ES256")),
        ({"WALLET_AUTH__JWKS_URL": "https://id.example.com/keys"}, ("RS256", "ES256")),
    ],
)
def test_the_key_says_the_algorithms(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], algorithms: tuple[str, ...]
) -> None:
    """A secret never verifies RS256, and a public key never HS256."""
    auth = load(monkeypatch, **variables).auth

    assert auth.is_set
    assert auth.jwt_algorithms == algorithms


def test_two_kinds_of_keys_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token could otherwise choose the weaker of the two."""
    with pytest.raises(SettingsError, match="only one of jwt_secret"):
        load(monkeypatch, WALLET_AUTH__JWT_SECRET=SECRET, WALLET_AUTH__JWT_PUBLIC_KEY=PEM)


@pytest.mark.parametrize(
    ("variables", "named", "not_named"),
    [
        ({}, ["WALLET_AUTH__JWT_SECRET", "WALLET_VAPI__SECRET"], []),
        ({"WALLET_AUTH__JWT_SECRET": SECRET}, ["WALLET_VAPI__SECRET"], ["WALLET_AUTH"]),
        ({"WALLET_VAPI__SECRET": "x"}, ["WALLET_AUTH__JWT_SECRET"], ["WALLET_VAPI"]),
    ],
)
def test_production_wants_its_secrets(
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    named: list[str],
    not_named: list[str],
) -> None:
    """It does not start without them, and names the variables that are missing, and no others."""
    with pytest.raises(SettingsError) as error:
        load(monkeypatch, WALLET_ENVIRONMENT="production", **variables)

    assert all(name in str(error.value) for name in named)
    assert not any(name in str(error.value) for name in not_named)


@pytest.mark.parametrize(
    "vapi", ["WALLET_VAPI__SECRET", "WALLET_VAPI__BEARER_TOKEN", "WALLET_VAPI__HMAC__SECRET"]
)
def test_production_starts_with_its_secrets(monkeypatch: pytest.MonkeyPatch, vapi: str) -> None:
    """One key for tokens and one proof of Vapi, of any kind, are enough."""
    settings = load(
        monkeypatch,
        **{"WALLET_ENVIRONMENT": "production", "WALLET_AUTH__JWT_SECRET": SECRET, vapi: "x"},
    )

    assert settings.environment == "production"


def test_secrets_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the settings when printed nor an error about them holds a secret."""
    secrets = {
        "WALLET_AUTH__JWT_SECRET": "hidden-" * 8,
        "WALLET_VAPI__SECRET": "hidden-1",
        "WALLET_VAPI__BEARER_TOKEN": "hidden-2",
        "WALLET_VAPI__HMAC__SECRET": "hidden-3",
        "WALLET_POSTGRES__DSN": "postgresql://wallet:hidden-4@db/wallet",
        "WALLET_REDIS__URL": "redis://:hidden-5@cache",
        "WALLET_CLUSTER__SECRET": "hidden-8-and-longer",
    }
    settings = load(monkeypatch, **secrets)

    assert "hidden" not in repr(settings)
    assert "hidden" not in settings.model_dump_json()
    with pytest.raises(SettingsError) as error:
        load(monkeypatch, WALLET_POSTGRES__DSN="hidden-6", WALLET_AUTH__JWT_SECRET="hidden-7")
    assert "hidden" not in str(error.value)


def test_settings_cannot_be_changed() -> None:
    """What was checked at start holds until the end."""
    settings = load_settings()

    with pytest.raises(ValueError, match="frozen"):
        settings.http.port = 1
    with pytest.raises(ValueError, match="frozen"):
        settings.environment = "test"


def test_every_setting_says_what_it_is() -> None:
    """A setting without a description is a number without a unit and a reason."""
    for model in groups_of(Settings):
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"


def test_wallets_inherit_the_defaults_of_the_engine() -> None:
    """Each default of a wallet can be set, under its own name, and both say the same."""
    ours = load_settings().defaults.model_dump()

    assert WalletSettings(**ours) == WalletSettings()
    assert set(ours) == {name for name in WalletSettings.__slots__ if name != "tariff"}


def groups_of(model: type[BaseModel]) -> list[type[BaseModel]]:
    """Return `model` and every group below it."""
    found = [model]
    for field in model.model_fields.values():
        for kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                found += groups_of(kind)
    return found
