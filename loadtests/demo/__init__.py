"""The demo: the whole system on one machine, people who pay, an agent killed meanwhile, and an audit at the end.

- `options`: what the person asked for
- `world`: local Kafka and Redis, keys and terminals, the agents and the gateway as processes that are restarted
- `traffic`: terminals served one visit after the other until the time is up
- `chaos`: which agent is killed, and when
- `live`: the table on the screen
- `truth`: what was settled against who truly stood there
- `story`: all of it, in order
"""
