"""Result files, tracks and their scores. The modules are imported one by one."""
