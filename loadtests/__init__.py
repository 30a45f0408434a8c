"""Clients that drive facepay from outside: terminals, cameras and people who do not exist.

Ships in the wheel, because the demo, `record` and `replay` use it. Speaks HTTP to the gateway and seals frames with
keys; an import contract forbids it everything else of the agents.
"""
