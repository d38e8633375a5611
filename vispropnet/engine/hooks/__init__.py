"""Hooks of training, one in a file."""
