"""OTLP traces (OTLP 1.x over HTTP) as runs and events: decoding, the attribute names of each convention, the mapping, the tree."""
