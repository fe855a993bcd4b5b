"""``python -m clients.device`` is ``fedkd-device``."""

from clients.device.cli import main

main()
