INSERT INTO products (id, name, description, price_cents, icon) VALUES
    (1, 'Ship''s bell',      'Solid brass, rung once for every release that held.',              4900, 'bell'),
    (2, 'Storm lantern',     'Burns for thirty hours. Finds the one failing probe in the dark.', 3450, 'lantern'),
    (3, 'Sextant',           'Tells where you are, and where you were before the rollback.',    18900, 'sextant'),
    (4, 'Coil of hemp rope', 'Twenty metres, three strands, not one dropped yet.',               1290, 'rope'),
    (5, 'Logbook',           'Numbered pages. Write it down before you do it.',                  1850, 'book'),
    (6, 'Bosun''s whistle',  'Heard over any wind; calls all replicas on deck.',                  990, 'whistle')
ON CONFLICT (id) DO UPDATE SET
    name = EXCLUDED.name, description = EXCLUDED.description, price_cents = EXCLUDED.price_cents, icon = EXCLUDED.icon
WHERE (products.name, products.description, products.price_cents, products.icon)
    IS DISTINCT FROM (EXCLUDED.name, EXCLUDED.description, EXCLUDED.price_cents, EXCLUDED.icon);
