"""Attention maps for analysis: the places that a model looks at in another frame."""
