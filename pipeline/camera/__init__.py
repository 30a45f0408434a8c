"""A camera of a lane: pictures from a folder, a video or a device, sealed and published while a payment is open.

`sources` yields pictures, `lease` knows whether the gateway wants them, `outbox` gets them to Kafka without ever
holding the camera up, `camera` joins the three. No lease, no frame: without one, pictures are not even sealed.
"""
