"""The patcher: patches workloads that a person has approved, inside upgrade windows, and undoes what does not work.

It is a process of its own with rights of its own. The exporter imports nothing of it and stays read-only.
"""
