"""The push stream: a process of its own, bare ASGI, no Django. `mission_control/stream.py` puts it together."""
