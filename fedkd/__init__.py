"""FedKD: federated learning by adaptive mutual knowledge distillation (Wu et al., Nature Communications 2022).

The names of ``fedkd`` itself are its public face: they stay when files move. Each is imported when it is first asked
for, so that ``import fedkd`` is quick and starts no TensorFlow.

>>> import fedkd
>>> fedkd.Regression(("glucose",)).metrics[0].label
'mean absolute error'
"""

import importlib
from typing import Any

__version__ = "0.1.0"

# Public names by the module they live in. ``sims`` stands above this package: nothing here imports it, but who asks for
# ``fedkd.run`` gets it from there.
_MODULES = {
    "sims.notebook": ("run", "open_run", "Run"),
    "fedkd.base.errors": ("InputError", "RunError"),
    "fedkd.config.methods": ("METHODS",),
    "fedkd.data.dataset": ("Dataset",),
    "fedkd.data.standardise": ("Standardisation",),
    "fedkd.data.words": ("encode_words", "vocabulary", "words_of_most"),
    "fedkd.tasks.task": ("Task",),
    "fedkd.tasks.registry": ("load_task", "TASKS"),
    "fedkd.objectives.objective": ("Objective", "Strata"),
    "fedkd.objectives.metric": ("Metric", "Scale"),
    "fedkd.objectives.classification": ("Classification",),
    "fedkd.objectives.detection": ("Detection",),
    "fedkd.objectives.ranking": ("Ranking",),
    "fedkd.objectives.regression": ("Regression",),
    "fedkd.objectives.multi_label": ("MultiLabel",),
    "fedkd.objectives.losses": ("binary_cross_entropy", "binary_kl", "cross_entropy", "kl", "mse"),
    "fedkd.distill.losses": ("confidence", "hidden_loss", "mutual_losses"),
    "fedkd.distill.knowledge": ("angle", "attention_relation", "attention_transfer", "distance", "value_relation"),
    "fedkd.distill.trainer": ("Trainer",),
    "fedkd.distill.keras_trainer": ("KerasTrainer",),
    "fedkd.exchange.codec": ("encode", "decode"),
    "fedkd.exchange.blob": ("Header", "PayloadError"),
    "fedkd.exchange.coding": ("Coding",),
    "fedkd.exchange.factors": ("Factors",),
    "fedkd.exchange.forms": ("Sparse",),
    "fedkd.exchange.spectrum": ("rank_for_energy",),
    "fedkd.exchange.transforms": ("Context", "Sent", "Transform"),
    "fedkd.exchange.svd": ("factorise",),
    "fedkd.exchange.schedule": ("energy",),
    "fedkd.protocol.resolve": ("resolve",),
    "fedkd.protocol.experiment": ("Experiment",),
    "fedkd.protocol.federation": ("client_round", "server_round"),
    "fedkd.compress.awq": ("awq", "awq_scaled"),
    "fedkd.compress.channels": ("channels",),
    "fedkd.compress.cluster": ("cluster",),
    "fedkd.compress.constraints": ("GradualPruning", "keep_clusters", "keep_filterlets", "keep_sparse", "rewind"),
    "fedkd.compress.cost": ("cost",),
    "fedkd.compress.drop_blocks": ("block_angles", "drop_blocks"),
    "fedkd.compress.filterlets": ("filterlet_bytes",),
    "fedkd.compress.fold": ("folded",),
    "fedkd.compress.gptq": ("gptq",),
    "fedkd.compress.importance": ("MEASURES", "dead"),
    "fedkd.compress.low_rank": ("low_rank",),
    "fedkd.compress.moments": ("merged_moments", "moments"),
    "fedkd.compress.qat": ("learned_scales", "quantize_aware"),
    "fedkd.compress.reconstruct": ("lasso", "reconstructed"),
    "fedkd.compress.remove_channels": ("remove_channels",),
    "fedkd.compress.sparse_gpt": ("sparse_gpt",),
    "fedkd.compress.structured": ("prune_channels",),
    "fedkd.compress.wanda": ("wanda",),
    "fedkd.compress.words": ("with_words",),
    "fedkd.models.transformer": ("IntegerFriendlyNorm", "SelfAttention", "TokenEmbedding"),
    "fedkd.edge.c_array": ("write_c_array",),
    "fedkd.edge.convert": ("convert",),
    "fedkd.edge.emulated": ("emulate",),
    "fedkd.edge.measure": ("measure",),
    "fedkd.edge.recipes": ("apply_recipe",),
    "fedkd.edge.runtime": ("describe", "latency", "predict"),
    "fedkd.edge.snr": ("layer_table",),
}
_PLACES = {name: module for module, names in _MODULES.items() for name in names}
# Names that are shorter, or plainer, where they live.
_NAMES_THERE = {"encode_words": "encode", "merged_moments": "merged", "words_of_most": "length"}

__all__ = ["__version__", *_PLACES]


def __getattr__(name: str) -> Any:
    """Import a public name from where it lives."""
    if name not in _PLACES:
        raise AttributeError(f"module 'fedkd' has no attribute {name!r}")
    found = getattr(importlib.import_module(_PLACES[name]), _NAMES_THERE.get(name, name))
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Public names, for completion."""
    return sorted({*globals(), *_PLACES})
