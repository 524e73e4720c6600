"""The simulated fleet: knows the HTTP API, tokens and `apps.demo.simulate`, nothing of Django, models or services."""
