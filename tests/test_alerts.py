"""The alert rules, and the PromQL that docs/operating.md tells, watch metrics and labels that there are."""

import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from tests.support import REPO
from visage import errors
from visage.api.metrics import Metrics
from visage.api.problems import kind_of

FILE = REPO / "misc" / "prometheus" / "alerts.yml"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(FILE.read_text("utf-8"))["groups"] for rule in group["rules"]
]
TOLD = re.findall(r"^\| `([^`|]*visage_[^`|]*)` \|", (REPO / "docs" / "operating.md").read_text("utf-8"), re.M)
QUERIES = [*(rule["expr"] for rule in RULES), *TOLD]

# Those of the metrics, and what Prometheus adds itself.
LABELS = {"route", "method", "status", "stage", "kind", "model", "role", "name", "sha256"} | {"le", "instance"}


def test_there_are_rules_and_queries() -> None:
    assert len(RULES) == 7 and len(TOLD) == 8
    assert len({rule["alert"] for rule in RULES}) == len(RULES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_rule_has_a_time_and_a_summary_of_labels_that_its_query_leaves(rule: dict[str, Any]) -> None:
    assert set(rule) == {"alert", "expr", "for", "annotations"} and re.fullmatch(r"\d+[smh]", rule["for"])
    shown = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    kept = re.search(r"\bby \(([^)]*)\)", rule["expr"])
    assert kept is None or shown <= set(re.split(r",\s*", kept[1]))


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_is_whole_and_its_metrics_and_labels_are_there(query: str) -> None:
    for pair in ("()", "[]", "{}"):
        assert query.count(pair[0]) == query.count(pair[1])
    helped = set(re.findall(r"^# HELP (\w+)", Metrics().render()[0].decode(), re.M))
    for name in re.findall(r"visage_\w+", query):
        plain = re.sub(r"_(bucket|sum|count)$", "", name)
        assert {name, plain} & helped, name
    asked = {label for row in re.findall(r"by \(([^)]*)\)", query) for label in re.split(r",\s*", row)}
    asked |= set(re.findall(r"(\w+)=~?\"", query))
    assert asked <= LABELS


def test_the_kinds_of_failure_that_are_watched_are_there() -> None:
    kinds = {
        kind for query in QUERIES for said in re.findall(r"kind=~?\"([^\"]*)\"", query) for kind in said.split("|")
    }
    known = {
        kind_of(error) for error in (errors.InferenceFailed("a"), errors.ModelUnavailable("a"), errors.DeviceLost("a"))
    }
    assert kinds == known


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed: PromQL is not parsed")
def test_prometheus_reads_them() -> None:
    subprocess.run(["promtool", "check", "rules", FILE], check=True, capture_output=True)


def test_the_labels_are_those_of_the_metrics() -> None:
    named = {label for metric in vars(Metrics()).values() for label in getattr(metric, "_labelnames", ())}
    assert named | {"le", "instance"} == LABELS
