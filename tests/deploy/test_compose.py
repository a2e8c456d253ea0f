"""The compose file for a real server: what can be said about it without a container engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

FILE = Path(__file__).resolve().parents[2] / "deploy" / "compose.yaml"


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text())["services"]
    return found


def test_every_image_has_a_version(services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        name, _, tag = service["image"].partition(":")
        assert name.count("/") == 1, "no registry host is named"
        assert tag[:1].isdigit()


def test_every_port_is_on_loopback(services: dict[str, dict[str, Any]]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert len(ports) == 2
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_a_node_without_tls_keeps_other_data_than_the_one_with(services: dict[str, dict[str, Any]]) -> None:
    plain, secure = services["eventstoredb"], services["eventstoredb-tls"]
    assert not set(plain["volumes"]) & set(secure["volumes"])
    assert "EVENTSTORE_INSECURE" not in secure["environment"]


def test_an_append_of_a_ledger_fits(services: dict[str, dict[str, Any]]) -> None:
    for name in ("eventstoredb", "eventstoredb-tls"):
        assert int(services[name]["environment"]["EVENTSTORE_MAX_APPEND_SIZE"]) >= 1024 * 1024
