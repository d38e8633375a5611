"""Pictures: instances on frames, results side by side, contact sheets, training curves."""
