"""Runner, loops, hooks and checkpoint reading. The modules are imported one by one."""
