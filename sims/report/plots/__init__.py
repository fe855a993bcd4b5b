"""A run's pictures: figures that stand alone, without pyplot and its global state."""

from sims.report.plots.clients import client_quality
from sims.report.plots.confusion import confusion_matrix
from sims.report.plots.device_frontier import edge_frontier
from sims.report.plots.files import device_files
from sims.report.plots.look import DARK, LIGHT, Look
from sims.report.plots.loss import loss_by_round
from sims.report.plots.norms import update_norms
from sims.report.plots.partition import partition_picture
from sims.report.plots.quality import quality_by_megabytes, quality_by_round
from sims.report.plots.ranks import ranks_heatmap
from sims.report.plots.series import Series, frontier, quality_by_rounds, quality_by_setting
from sims.report.plots.snr import MOST_LAYERS, edge_layers
from sims.report.plots.stages import edge_stages

__all__ = [
    "DARK",
    "LIGHT",
    "MOST_LAYERS",
    "Look",
    "Series",
    "client_quality",
    "confusion_matrix",
    "device_files",
    "edge_frontier",
    "edge_layers",
    "edge_stages",
    "frontier",
    "loss_by_round",
    "partition_picture",
    "quality_by_megabytes",
    "quality_by_round",
    "quality_by_rounds",
    "quality_by_setting",
    "ranks_heatmap",
    "update_norms",
]
