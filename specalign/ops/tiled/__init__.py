"""The ops in tiles that fit into the cache, in plain torch: for the CPU, and where nothing faster is to be had."""
