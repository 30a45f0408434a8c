"""Clients that put the system to work: people, terminals, cameras, and the demo that tells their story.

Nothing here knows the agents' inside: terminals speak HTTP to the gateway, cameras seal frames with the keys they were
given, and what happened is read back from the topics like anybody else would.
"""
