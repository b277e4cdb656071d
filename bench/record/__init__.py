"""The record of a big ledger: how fast it is read, verified, moved and folded again."""
