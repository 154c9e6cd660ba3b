"""Outbound HTTP, for ContaDigital's client and webhooks: addresses, sockets with a deadline, headers, sizes."""
