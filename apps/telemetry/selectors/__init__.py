"""Reads of telemetry, for its own pages and for other rooms."""
