"""Backends side by side: what is measured, how it is set up, and what came of it."""
