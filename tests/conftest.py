"""Every test runs under the process settings of a real run."""

from fedkd import runtime

runtime.configure()
