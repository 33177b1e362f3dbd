"""Simulated guests of the desk: what they want (`goals`), how they say it (`speech`, `phrasings.*.toml`), how they react (`guest`),
what a skilled colleague does at each point (`expert`), and whether the world ended as wanted (`world`). Loaded by `environment.py`.
"""
