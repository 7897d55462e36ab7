"""What each request does, a module for each resource. The table of all routes is `generator/emulator/routes.py`."""
