"""Templates that can be revoked: a keyed transform per key version, and a data key per payer that can be destroyed.

`transform` turns embeddings into the space of a key version, `data_keys` holds one key per payer in a store that can
forget, `kek` wraps those keys, `linkage` measures what the transform is worth against a thief.
"""
