"""Devices that aren't there: setting up what ``fedkd.edge.emulated`` runs files on."""
