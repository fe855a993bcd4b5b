"""Codings by the names of their compressors, as tests want them."""

from fedkd.config.exchange import ExchangeConfig
from fedkd.exchange.coding import Coding
from fedkd.exchange.compressors import compressor


def coding(name, bits=32, stochastic=False, deflate=False, *, energy=0.9, rank=2, density=0.1):
    """Return a coding whose compressor is configured as a run's is."""
    return Coding(compressor(name, ExchangeConfig(rank=rank, density=density), energy), bits, stochastic, deflate)
