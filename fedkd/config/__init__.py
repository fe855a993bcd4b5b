"""An experiment's configuration: its sections, settings by dotted keys, methods as presets."""
