"""ZFS: pools and their disks, datasets, snapshots, events, the cache in memory, and what is wrong with them."""
