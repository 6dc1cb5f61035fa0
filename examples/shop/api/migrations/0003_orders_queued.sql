-- An order is durable before its job is in the queue; the API sweeps up those that are not there yet.
ALTER TABLE orders ADD COLUMN queued boolean NOT NULL DEFAULT false;
CREATE INDEX orders_unqueued ON orders (id) WHERE NOT queued;
