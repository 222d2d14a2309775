"""The exporter process: serves the metrics of one fleet to Prometheus until told to stop. Keeps nothing."""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType

from prometheus_client import CollectorRegistry, start_http_server

from config.settings import Settings
from scheduler.metrics import FleetMetrics
from tasks.context import connect

log = logging.getLogger("nonet.metrics")


def run_exporter(settings: Settings, address: str, port: int) -> None:
    """Serve http://`address`:`port`/metrics until SIGTERM or SIGINT; raises OSError where it cannot listen there."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    registry = CollectorRegistry()
    registry.register(FleetMetrics(settings, connect(settings.redis())))
    server, thread = start_http_server(port, address, registry)
    log.info("metrics on http://%s:%s/metrics", address, server.server_port)
    stop.wait()
    server.shutdown()
    server.server_close()
    thread.join()
