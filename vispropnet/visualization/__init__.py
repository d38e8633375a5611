"""Pictures: instances drawn on frames, contact sheets of whole files, training curves."""
