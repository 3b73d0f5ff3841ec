"""The dashboard and the alert rules name what exists, and each alert fires when it should."""

import json
import os
import re
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import pytest
import yaml

from channels.contrib.prometheus.client import CollectorRegistry, Gauge
from channels.contrib.prometheus.definitions import Metrics

HERE = resources.files("channels.contrib.prometheus")
RULES = yaml.safe_load((HERE / "alerts.yml").read_text("utf-8"))
DASHBOARD = json.loads((HERE / "grafana.json").read_text("utf-8"))
OPERATIONS = Path(__file__).parents[4] / "docs" / "topics" / "operations.md"

ALERTS = {rule["alert"]: rule for rule in RULES["groups"][0]["rules"]}

# For each alert: series that set it off, and series that do not.
STEPS = 90
CASES = {
    "ChannelsNoMetrics": ({"up": "1x90"}, {"channels_sync_threads": "32x90"}),
    "ChannelsCrashes": (
        {'channels_crashes_total{consumer="c"}': "0+5x90"},
        {'channels_crashes_total{consumer="c"}': "7x90"},
    ),
    "ChannelsHandshakesFail": (
        {
            'channels_handshakes_total{consumer="c",outcome="accepted"}': "0+50x90",
            'channels_handshakes_total{consumer="c",outcome="timed out"}': "0+10x90",
        },
        {
            'channels_handshakes_total{consumer="c",outcome="accepted"}': "0+50x90",
            'channels_handshakes_total{consumer="c",outcome="refused"}': "0+90x90",
        },
    ),
    "ChannelsHandlersSlow": (
        {
            'channels_handler_seconds_bucket{consumer="c",le="1.0"}': "0+50x90",
            'channels_handler_seconds_bucket{consumer="c",le="2.5"}': "0+60x90",
            'channels_handler_seconds_bucket{consumer="c",le="+Inf"}': "0+60x90",
        },
        {
            'channels_handler_seconds_bucket{consumer="c",le="0.5"}': "0+60x90",
            'channels_handler_seconds_bucket{consumer="c",le="+Inf"}': "0+60x90",
        },
    ),
    "ChannelsEventLoopBlocked": (
        {
            'channels_event_loop_lag_seconds_bucket{instance="i",le="0.25"}': "0+200x90",
            'channels_event_loop_lag_seconds_bucket{instance="i",le="0.5"}': "0+240x90",
            'channels_event_loop_lag_seconds_bucket{instance="i",le="+Inf"}': "0+240x90",
        },
        {
            'channels_event_loop_lag_seconds_bucket{instance="i",le="0.01"}': "0+240x90",
            'channels_event_loop_lag_seconds_bucket{instance="i",le="+Inf"}': "0+240x90",
        },
    ),
    "ChannelsThreadsExhausted": (
        {"channels_sync_handlers_waiting": "3x90"},
        {"channels_sync_handlers_waiting": "0x90"},
    ),
    "ChannelsBrokerLost": (
        {'channels_broker_up{broker="b",purpose="receiving"}': "0x90"},
        {'channels_broker_up{broker="b",purpose="receiving"}': "1x90"},
    ),
    "ChannelsMessagesDropped": (
        {'channels_layer_messages_dropped_total{reason="capacity"}': "0+60x90"},
        {'channels_layer_messages_dropped_total{reason="closed"}': "0+600x90"},
    ),
    "ChannelsBacklog": (
        {'channels_layer_messages_pending{layer="default"}': "1001x90"},
        {'channels_layer_messages_pending{layer="default"}': "1000x90"},
    ),
    "ChannelsLimitsExceeded": (
        {'channels_limits_exceeded_total{limit="rate",action="closed"}': "0+120x90"},
        {'channels_limits_exceeded_total{limit="rate",action="closed"}': "0+6x90"},
    ),
    "ChannelsClientsStalled": (
        {'channels_clients_stalled_total{consumer="c"}': "0+60x90"},
        {'channels_clients_stalled_total{consumer="c"}': "0x90"},
    ),
    "ChannelsWorkerJobsFail": (
        {
            'channels_worker_job_seconds_count{channel="c",outcome="done"}': "0+6x90",
            'channels_worker_job_seconds_count{channel="c",outcome="failed"}': "0+6x90",
        },
        {'channels_worker_job_seconds_count{channel="c",outcome="done"}': "0+60x90"},
    ),
}


def named(expression):
    """The metrics and labels that an expression of PromQL names."""
    text = re.sub(r'"[^"]*"', '""', expression)
    return set(re.findall(r"\bchannels_\w+", text))


def existing():
    """Every name of a sample that the metrics can have."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    names = set()
    for collector in vars(metrics).values():
        for family in getattr(collector, "describe", list)():
            suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
            names |= {family.name + suffix for suffix in suffixes.get(family.type, [""])}
    assert isinstance(metrics.connections, Gauge)
    return names


def test_alerts_and_dashboard_name_metrics_that_exist():
    panels = DASHBOARD["panels"]
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    expressions += [rule["expr"] for rule in ALERTS.values()]
    for expression in expressions:
        assert named(expression), expression
        assert named(expression) <= existing(), expression
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_every_alert_has_a_section_of_the_documentation():
    page = OPERATIONS.read_text("utf-8")
    assert set(re.findall(r"^### (\w+)$", page, re.MULTILINE)) == set(ALERTS)
    for name, rule in ALERTS.items():
        assert rule["annotations"]["runbook"] == f"docs/topics/operations.md#{name.lower()}"


@pytest.fixture
def promtool():
    found = shutil.which("promtool")
    if found is None:
        assert "CI" not in os.environ, "promtool is not installed"
        pytest.skip("promtool is not installed")
    return found


def test_prometheus_takes_the_rules_and_each_alert_fires_when_it_should(promtool, tmp_path):
    assert set(CASES) == set(ALERTS)
    cases = []
    for name, (firing, silent) in CASES.items():
        for series, fires in ((firing, True), (silent, False)):
            cases.append(
                {
                    "interval": "1m",
                    "input_series": [{"series": s, "values": v} for s, v in series.items()],
                    "promql_expr_test": [
                        {
                            "expr": f'count(ALERTS{{alertname="{name}",alertstate="firing"}})',
                            "eval_time": "80m",
                            "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
                        }
                    ],
                }
            )
    rules = tmp_path / "alerts.yml"
    rules.write_text((HERE / "alerts.yml").read_text("utf-8"), "utf-8")
    test = tmp_path / "test.yml"
    test.write_text(
        json.dumps({"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": cases}),
        "utf-8",
    )
    subprocess.run([promtool, "check", "rules", str(rules)], check=True, capture_output=True)
    done = subprocess.run(
        [promtool, "test", "rules", str(test)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
