"""The alert rules watch metrics that there are."""

import re

import yaml

from tests.support import REPO
from visage.api.metrics import Metrics

RULES = REPO / "misc" / "prometheus" / "alerts.yml"


def test_every_rule_has_a_time_a_summary_and_metrics_that_the_service_has() -> None:
    text, _ = Metrics().render()
    there = set(re.findall(r"^# HELP (\w+)", text.decode(), re.M))
    rules = [rule for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) > 0
    for rule in rules:
        assert re.fullmatch(r"\d+[smh]", rule["for"]) and rule["annotations"]["summary"]
        named = {name.removesuffix("_bucket") for name in re.findall(r"visage_\w+", rule["expr"])}
        assert named and named <= there | {f"{name}_total" for name in there}, rule["alert"]
