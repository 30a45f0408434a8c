"""The ledger: where money is decided, and the only state that settlement has.

`tables` declares the schema with the constraints that hold whatever the code does; `database` opens it; `store` is
`ports.LaneStore` for the transactional loop; `lane_batch` applies one batch in memory and `writing` writes it;
`outcomes` builds the events; `reading` reads it for audits, without a lock and without writing.
"""
