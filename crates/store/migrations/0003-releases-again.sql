-- The images that a release ran, so that it can be run again; the release that it ran again itself; whether what it
-- runs from is kept however old it is.

ALTER TABLE releases ADD COLUMN images TEXT NOT NULL DEFAULT '{}';
ALTER TABLE releases ADD COLUMN again INTEGER;
ALTER TABLE releases ADD COLUMN kept INTEGER NOT NULL DEFAULT 0;
