"""What on a device depends on what: services, their stores, and the proxies before them."""
