"""The patcher: applies patches that a person has approved, inside upgrade windows, and rolls back those that fail.

It is a separate process with its own permissions. The exporter imports nothing from it and stays read-only.
"""
