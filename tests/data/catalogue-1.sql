-- A catalogue of schema version 1, as `.dump` of SQLite writes it.
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE repository (
            id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, looked_up REAL NOT NULL, etag TEXT
        );
INSERT INTO "repository" VALUES(1,'docker.io/mojaloop/central-ledger',900000.0,'"x"');
INSERT INTO "repository" VALUES(2,'docker.io/library/redis',800000.0,NULL);
CREATE TABLE tag (
            repository INTEGER NOT NULL REFERENCES repository ON DELETE CASCADE, name TEXT NOT NULL,
            first_seen REAL NOT NULL, absent INTEGER NOT NULL DEFAULT 0, dated INTEGER NOT NULL DEFAULT 0,
            published REAL, PRIMARY KEY (repository, name)
        ) WITHOUT ROWID;
INSERT INTO "tag" VALUES(1,'latest',700000.0,0,0,NULL);
INSERT INTO "tag" VALUES(1,'sha-1',700000.0,0,0,NULL);
INSERT INTO "tag" VALUES(1,'v1.0.0',700000.0,0,0,NULL);
INSERT INTO "tag" VALUES(1,'v1.0.1',700000.0,0,1,650000.0);
INSERT INTO "tag" VALUES(1,'v1.0.2',700000.0,0,1,NULL);
INSERT INTO "tag" VALUES(1,'v1.0.3',700000.0,1,0,NULL);
INSERT INTO "tag" VALUES(2,'6',800000.0,0,0,NULL);
COMMIT;
