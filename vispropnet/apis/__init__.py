"""What tools and scripts call. The modules are imported one by one, so that this costs nothing."""
