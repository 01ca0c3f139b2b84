"""Jupyter widgets: the live picture, the charts around it, and the page that composes them."""

from detect.dashboard.charts import LiveChart, StackedChart
from detect.dashboard.client import ServerClient
from detect.dashboard.panel import Dashboard
from detect.dashboard.view import DetectionView

__all__ = ["Dashboard", "DetectionView", "LiveChart", "ServerClient", "StackedChart"]
