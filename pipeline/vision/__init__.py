"""Bytes to faces: decode, detect, align, liveness, embed.

One way through: `decode` turns a JPEG into pixels, `engine.Engine.faces` turns pixels into faces with their embeddings.
`models` says which files may be used for that and what each promises; the adapters (`detector`, `embedder`, `liveness`)
hold one family each. Nothing here knows Kafka, a payer or a payment.
"""
