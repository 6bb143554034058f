"""Hypothesis, the same way on every run: a red test is red again, and a green one green."""

from hypothesis import settings

repeatable = settings(derandomize=True, deadline=None)
