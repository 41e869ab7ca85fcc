BEGIN TRANSACTION;
CREATE TABLE looks (
    look INTEGER PRIMARY KEY AUTOINCREMENT, stream TEXT NOT NULL, question TEXT NOT NULL, at REAL NOT NULL,
    UNIQUE (stream, question)
);
INSERT INTO "looks" VALUES(1,'07eb8e08538154fcc5c1aafbe621396f6388e7cd','{"alpha": 0.001, "n": 500, "n0": 0, "radius": 0.2, "reading": "{\"label\": null}", "rule": "capped/1"}',1.79586091629729819292e+09);
INSERT INTO "looks" VALUES(2,'9022f168902fd7622d2ce13bbad2054ac16ed49c','{"alpha": 0.001, "n": null, "n0": 0, "radius": 0.1, "reading": "{\"label\": null}", "rule": "open/1"}',1.79586091880040192602e+09);
INSERT INTO "looks" VALUES(3,'9022f168902fd7622d2ce13bbad2054ac16ed49c','{"alpha": 0.001, "n": 300, "n0": 0, "radius": 0.15, "reading": "{\"label\": null}", "rule": "capped/1"}',1.79586091945535635946e+09);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('looks',3);
COMMIT;
PRAGMA user_version = 1;
