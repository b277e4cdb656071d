"""Deleting an old server cluster: a small cluster API, the operations over it, and a policy that guards them."""
