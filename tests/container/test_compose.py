"""The compose files and the chart carry what the service reads."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import REPO
from visage.settings import NAMES, Settings

COMPOSE = sorted((REPO / "misc" / "compose").glob("*.yml"))
CHART = REPO / "misc" / "helm" / "visage"
VALUES = ["values.yaml", "gpu.yaml", "triton.yaml"]


def services(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))["services"]
    return found


def test_each_way_has_its_file() -> None:
    assert [path.stem for path in COMPOSE] == ["cpu", "gpu", "multi-gpu", "triton"]


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.stem)
def test_every_variable_of_a_compose_file_is_read_and_its_value_taken_fault_12(path: Path) -> None:
    for service in services(path).values():
        found = service.get("environment", {})
        assert set(found) <= NAMES
        Settings.load(found)
    for name in re.findall(r"# ([A-Z_]+): ", path.read_text("utf-8")):
        assert name in NAMES


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.stem)
def test_services_run_with_a_read_only_root_and_without_rights(path: Path) -> None:
    ours = [s for n, s in services(path).items() if n.startswith("visage")]
    assert ours
    for service in ours:
        assert service["read_only"] and service["cap_drop"] == ["ALL"] and "/tmp" in service["tmpfs"]


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.stem)
def test_services_say_who_may_ask_and_keep_what_they_remember(path: Path) -> None:
    for name, service in services(path).items():
        if name.startswith("visage"):
            settings = Settings.load({"HOST": "0.0.0.0", **service["environment"]})[0]
            settings.check_auth()  # a container listens on all of its addresses
            assert "data:/data" in service["volumes"]
            assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_the_balancer_knows_every_service_of_its_compose_file() -> None:
    named = re.findall(r"server ([\w-]+):18080", (REPO / "misc" / "nginx" / "visage.conf").read_text("utf-8"))
    assert named == [name for name in services(REPO / "misc/compose/multi-gpu.yml") if name.startswith("visage")]


@pytest.mark.parametrize("name", VALUES)
def test_every_setting_of_the_chart_is_read_and_its_value_taken_fault_12(name: str) -> None:
    text = (CHART / name).read_text("utf-8")
    found = yaml.safe_load(text)["settings"]
    assert set(found) <= NAMES
    Settings.load(found)
    everything = {"HOST": "0.0.0.0", **yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))["settings"], **found}
    Settings.load(everything)[0].check_auth()
    assert set(re.findall(r"^#   ([A-Z_]+): ", text, re.M)) <= NAMES


def test_the_charts_ingress_lets_streams_pass_and_sends_no_write_twice() -> None:
    found = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))["ingress"]["annotations"]
    told = {name.removeprefix("nginx.ingress.kubernetes.io/"): value for name, value in found.items()}
    assert (told["proxy-body-size"], told["proxy-request-buffering"]) == ("0", "off")
    assert told["proxy-next-upstream"] == "error"  # neither timeouts nor 503, and nothing that is not idempotent
    assert all(isinstance(value, str) for value in found.values())  # Kubernetes takes no other annotations
    assert ".Values.ingress.annotations" in (CHART / "templates" / "ingress.yaml").read_text("utf-8")
