"""Readers of data sets, one form in a file."""
