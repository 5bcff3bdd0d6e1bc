"""The peers stand behind the configuration that the inference API stands behind."""

import pytest

from bench.deployment import BenchmarkError
from bench.peers import with_servers

CONFIG = """\
    upstream airflow {
        server 10.0.0.9:8080 max_fails=1;
    }
    upstream inference_api {
        least_conn;
        # why
        server 10.0.0.1:8000 max_fails=1 max_conns=40;
        server 10.0.0.2:8000 max_fails=1 max_conns=40;
        keepalive 80;
    }
    server { listen 8000 ssl; }
"""


def test_only_the_servers_are_others() -> None:
    assert (
        with_servers(CONFIG, ["10.0.0.7:8000"])
        == """\
    upstream airflow {
        server 10.0.0.9:8080 max_fails=1;
    }
    upstream inference_api {
        least_conn;
        # why
        keepalive 80;
        server 10.0.0.7:8000 max_fails=1 max_conns=40;
    }
    server { listen 8000 ssl; }
"""
    )


def test_a_configuration_without_it_is_refused() -> None:
    with pytest.raises(BenchmarkError, match="no servers"):
        with_servers("upstream airflow { }", ["10.0.0.7:8000"])
