"""Exact integer entropy coding: a range coder with static and adaptive tables."""
