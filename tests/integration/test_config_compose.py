"""The compose file and the image: what can be said of them without a container engine."""

import subprocess
import sys
import tomllib
from collections.abc import Mapping

import pytest
from pydantic_settings import BaseSettings

from wallet_config import Settings, load_settings
from wallet_testing.operator_files import (
    COMPOSE,
    PROMETHEUS,
    PROXY,
    ROOT,
    Document,
    compose,
    required,
    yaml_of,
)

NODES = ("node-1", "node-2", "node-3")
SECRETS = dict.fromkeys(required(), "a-secret-of-thirty-two-bytes-at-least")


@pytest.fixture
def services() -> Mapping[str, Document]:
    """Give the services with secrets filled in."""
    found: Mapping[str, Document] = compose(SECRETS)["services"]
    return found


def test_it_is_a_compose_file() -> None:
    """By the schema of the compose specification."""
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "check_jsonschema",
            "--builtin-schema",
            "vendor.compose-spec",
            COMPOSE,
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("name", sorted(required()))
def test_no_secret_has_a_default(name: str) -> None:
    """Without one of them nothing starts."""
    with pytest.raises(KeyError, match=name):
        compose({**SECRETS, name: ""})


def test_whatever_is_secret_must_be_given() -> None:
    """A password that stands in the file would be everybody's."""
    assert required() == {
        "GRAFANA_PASSWORD",
        "POSTGRES_PASSWORD",
        "REDIS_PASSWORD",
        "WALLET_AUTH__JWT_SECRET",
        "WALLET_CLUSTER__SECRET",
        "WALLET_VAPI__SECRET",
    }


@pytest.mark.parametrize("node", [*NODES, "migrate"])
def test_a_node_takes_its_settings(
    node: str, services: Mapping[str, Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is one that the engine knows, and production is content with the secrets."""
    for name, value in services[node]["environment"].items():
        monkeypatch.setenv(name, value)

    settings: BaseSettings = load_settings()

    assert isinstance(settings, Settings)
    if node in NODES:
        assert settings.environment == "production"
        assert settings.node.id == node
        assert settings.http.metrics_port is not None


def test_only_the_proxy_is_open(services: Mapping[str, Document]) -> None:
    """And what shows numbers, to this machine alone."""
    ports = {name: it["ports"] for name, it in services.items() if "ports" in it}

    assert set(ports) == {"proxy", "prometheus", "grafana"}
    assert [
        it for listed in ports.values() for it in listed if not it.startswith("127.0.0.1:")
    ] == []


def test_images_are_pinned(services: Mapping[str, Document]) -> None:
    """The same file brings the same system tomorrow."""
    images = {it["image"] for it in services.values()}

    assert [
        image for image in images if not image.rpartition(":")[2].strip("v")[:1].isdigit()
    ] == []


def test_whoever_is_waited_for_has_a_health(services: Mapping[str, Document]) -> None:
    """`service_healthy` of a service without a check would wait for ever."""
    waited_for = {
        name
        for it in services.values()
        for name, how in it.get("depends_on", {}).items()
        if how["condition"] == "service_healthy"
    }

    assert {name for name in waited_for if "test" not in services[name]["healthcheck"]} == set()
    assert {*waited_for, "migrate"} <= set(services)


def test_the_files_speak_of_the_same_nodes(services: Mapping[str, Document]) -> None:
    """The proxy sends to them, and Prometheus asks them, where they listen."""
    [wallet, proxy] = yaml_of(PROMETHEUS / "prometheus.yml")["scrape_configs"]
    settings = services["node-1"]["environment"]
    text = PROXY.read_text()

    assert wallet["static_configs"][0]["targets"] == [
        f"{node}:{settings['WALLET_HTTP__METRICS_PORT']}" for node in NODES
    ]
    for number, node in enumerate(NODES, 1):
        assert f'"${{NODE_{number}-{node}:{settings["WALLET_HTTP__PORT"]}}}"' in text
    assert proxy["static_configs"][0]["targets"] == ["proxy:8405"]
    assert "PROXY_METRICS_BIND-:8405" in text
    assert services["proxy"]["ports"][0].endswith(":8080")
    assert "PROXY_BIND-:8080" in text


def test_mounted_files_are_there(services: Mapping[str, Document]) -> None:
    """A container engine would make an empty folder in place of what is missing."""
    mounted = [
        volume.split(":")[0]
        for it in services.values()
        for volume in it.get("volumes", ())
        if volume.startswith("./")
    ]

    assert [path for path in mounted if not (ROOT / path).exists()] == []


def test_the_image_has_each_source_root() -> None:
    """Each by a COPY of its own, and none that the context leaves out."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    roots = {path.split("/")[0] for path in wheel["targets"]["wheel"]["packages"]}
    copied = [
        line.split()[1:]
        for line in (ROOT / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
    ]
    let_in = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }

    assert [words for words in copied if len(words) != 2 or words[0] != words[1]] == []
    assert roots <= {source for source, _ in copied}
    assert {source.split("/")[0] for source, _ in copied} == let_in
