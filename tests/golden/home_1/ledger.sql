BEGIN TRANSACTION;
CREATE TABLE entries (
    entry INTEGER PRIMARY KEY, run TEXT NOT NULL, provider TEXT NOT NULL, stream TEXT NOT NULL,
    queries INTEGER NOT NULL, micro_usd INTEGER NOT NULL, state TEXT NOT NULL, at REAL NOT NULL
);
INSERT INTO "entries" VALUES(1,'old','service','2cfb1de11b5ab9f7e5dc1dc24e8667cfb5c4a4d1',4,0,'sent',1795844011.55011);
INSERT INTO "entries" VALUES(2,'old','service','2cfb1de11b5ab9f7e5dc1dc24e8667cfb5c4a4d1',4,0,'sent',1795844011.5617);
INSERT INTO "entries" VALUES(3,'old','service','2cfb1de11b5ab9f7e5dc1dc24e8667cfb5c4a4d1',4,0,'sent',1.79584401157311725617e+09);
INSERT INTO "entries" VALUES(4,'old','service','2cfb1de11b5ab9f7e5dc1dc24e8667cfb5c4a4d1',4,0,'sent',1795844011.57519);
INSERT INTO "entries" VALUES(5,'old','service','2cfb1de11b5ab9f7e5dc1dc24e8667cfb5c4a4d1',4,0,'sent',1.79584401158093523971e+09);
INSERT INTO "entries" VALUES(6,'old','service','2cfb1de11b5ab9f7e5dc1dc24e8667cfb5c4a4d1',4,0,'sent',1.79584401158931541444e+09);
CREATE TABLE runs (
    run TEXT PRIMARY KEY, queries INTEGER NOT NULL, micro_usd INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO "runs" VALUES('old',24,0);
COMMIT;
PRAGMA user_version = 1;
