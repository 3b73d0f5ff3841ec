from django.core import checks

from channels.contrib.prometheus.apps import PrometheusConfig
from channels.contrib.prometheus.checks import check_metrics
from channels.contrib.prometheus.listening import MULTIPROCESS


def test_a_project_that_is_configured_well_is_told_nothing(monkeypatch, tmp_path):
    assert check_metrics(None) == []
    monkeypatch.setenv(MULTIPROCESS, str(tmp_path))
    assert check_metrics(None) == []


def test_a_wrong_setting_is_an_error(settings):
    settings.CHANNELS_PROMETHEUS = {"ports": 1}
    assert [each.id for each in check_metrics(None)] == ["channels.prometheus.E001"]


def test_a_folder_that_is_none_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv(MULTIPROCESS, str(tmp_path / "missing"))
    assert [each.id for each in check_metrics(None)] == ["channels.prometheus.W001"]


def test_the_app_registers_the_checks_and_counts(listener, monkeypatch):
    registered = []
    monkeypatch.setattr(checks, "register", registered.append)
    PrometheusConfig.create("channels.contrib.prometheus").ready()
    assert registered == [check_metrics]
