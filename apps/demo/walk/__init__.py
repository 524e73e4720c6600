"""The loop walked step by step against a running portal, over HTTP: the acceptance test that `manage.py demo_loop` is."""
