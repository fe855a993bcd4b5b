"""As tests/device: no waiting for the disk."""

from tests.device.conftest import quick

__all__ = ["quick"]
