"""Devices that aren't there: setting up what ``fedkd.edge.emulate`` runs files on."""
