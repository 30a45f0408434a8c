"""The HTTP edge for terminals and their cameras: the only producer of `commands`.

`app` is the FastAPI application, `intents` what it does, `leases` what cameras are lent, `book` what is known of each
intent (pure), `commands` how a command reaches Kafka, `feed` how events come back, `pins` the check of a PIN, `edge`
who may call and how much.
"""
