"""FedKD: federated learning by adaptive mutual knowledge distillation (Wu et al., Nature Communications 2022)."""

__version__ = "0.1.0"
