"""Answers of Flower 1.41's commands, as they were recorded; times and ids are a test's."""


def node(id_, status="registered", online="N/A", offline="N/A"):
    """A row of `flwr supernode list --format json`."""
    return {
        "node-id": id_, "owner-name": "none", "status": status, "created-at": "2026-11-29 20:00:05Z",
        "online-at": online, "online-elapsed": 37.06511, "offline-at": offline, "deleted-at": "N/A",
    }  # fmt: skip


def nodes(*rows):
    """What that command answers."""
    return {"success": True, "nodes": list(rows)}


def run(id_, status, pending="2026-11-29 20:00:26Z"):
    """A row of `flwr ls --format json`."""
    return {
        "run-id": id_, "federation-id": "@none/default", "fab-id": "fedkd/fedkd", "fab-name": "fedkd",
        "fab-version": "0.1.0", "fab-hash": "e5", "status": status, "status-details": "N/A", "elapsed": 28.172944,
        "pending-at": pending, "starting-at": "N/A", "running-at": "N/A", "finished-at": "N/A",
        "network-traffic": {"inbound-bytes": 1848, "outbound-bytes": 3838, "total-bytes": 5686},
        "compute-time": {"serverapp-seconds": 28.17, "clientapp-seconds": 5.1, "total-seconds": 33.27},
    }  # fmt: skip


def runs(*rows):
    """What that command answers."""
    return {"success": True, "runs": list(rows)}
