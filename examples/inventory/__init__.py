"""A warehouse's service that became `atomic` by a fence of its own: see `service.py`."""
