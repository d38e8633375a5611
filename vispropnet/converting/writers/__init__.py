"""Writers of results, one form in a file."""
