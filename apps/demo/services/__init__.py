"""Putting the demo into the portal and taking it out again; the rest of the demo knows the HTTP API only."""
