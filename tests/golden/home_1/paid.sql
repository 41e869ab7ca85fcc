BEGIN TRANSACTION;
CREATE TABLE answers (
    stream TEXT NOT NULL, query INTEGER NOT NULL, answer TEXT NOT NULL, PRIMARY KEY (stream, query)
) WITHOUT ROWID;
INSERT INTO "answers" VALUES('2cfb1de11b5ab9f7e5dc1dc24e8667cfb5c4a4d1',0,'["1",["dog",0.9,null,[]]]');
INSERT INTO "answers" VALUES('2cfb1de11b5ab9f7e5dc1dc24e8667cfb5c4a4d1',1,'["1",["dog",0.9,null,[]]]');
INSERT INTO "answers" VALUES('2cfb1de11b5ab9f7e5dc1dc24e8667cfb5c4a4d1',2,'["1",["dog",0.9,null,[]]]');
INSERT INTO "answers" VALUES('2cfb1de11b5ab9f7e5dc1dc24e8667cfb5c4a4d1',3,'["1",["dog",0.9,null,[]]]');
INSERT INTO "answers" VALUES('2cfb1de11b5ab9f7e5dc1dc24e8667cfb5c4a4d1',4,'["1",["dog",0.9,null,[]]]');
INSERT INTO "answers" VALUES('2cfb1de11b5ab9f7e5dc1dc24e8667cfb5c4a4d1',5,'["1",["dog",0.9,null,[]]]');
INSERT INTO "answers" VALUES('2cfb1de11b5ab9f7e5dc1dc24e8667cfb5c4a4d1',6,'["1",["dog",0.9,null,[]]]');
INSERT INTO "answers" VALUES('2cfb1de11b5ab9f7e5dc1dc24e8667cfb5c4a4d1',7,'["1",["dog",0.9,null,[]]]');
INSERT INTO "answers" VALUES('2cfb1de11b5ab9f7e5dc1dc24e8667cfb5c4a4d1',8,'["1",["dog",0.9,null,[]]]');
INSERT INTO "answers" VALUES('2cfb1de11b5ab9f7e5dc1dc24e8667cfb5c4a4d1',9,'["1",["dog",0.9,null,[]]]');
INSERT INTO "answers" VALUES('2cfb1de11b5ab9f7e5dc1dc24e8667cfb5c4a4d1',10,'["1",["dog",0.9,null,[]]]');
INSERT INTO "answers" VALUES('2cfb1de11b5ab9f7e5dc1dc24e8667cfb5c4a4d1',11,'["1",["dog",0.9,null,[]]]');
INSERT INTO "answers" VALUES('2cfb1de11b5ab9f7e5dc1dc24e8667cfb5c4a4d1',12,'["1",["dog",0.9,null,[]]]');
INSERT INTO "answers" VALUES('2cfb1de11b5ab9f7e5dc1dc24e8667cfb5c4a4d1',13,'["1",["dog",0.9,null,[]]]');
INSERT INTO "answers" VALUES('2cfb1de11b5ab9f7e5dc1dc24e8667cfb5c4a4d1',14,'["1",["dog",0.9,null,[]]]');
INSERT INTO "answers" VALUES('2cfb1de11b5ab9f7e5dc1dc24e8667cfb5c4a4d1',15,'["1",["dog",0.9,null,[]]]');
INSERT INTO "answers" VALUES('2cfb1de11b5ab9f7e5dc1dc24e8667cfb5c4a4d1',16,'["1",["dog",0.9,null,[]]]');
INSERT INTO "answers" VALUES('2cfb1de11b5ab9f7e5dc1dc24e8667cfb5c4a4d1',17,'["1",["dog",0.9,null,[]]]');
INSERT INTO "answers" VALUES('2cfb1de11b5ab9f7e5dc1dc24e8667cfb5c4a4d1',18,'["1",["dog",0.9,null,[]]]');
INSERT INTO "answers" VALUES('2cfb1de11b5ab9f7e5dc1dc24e8667cfb5c4a4d1',19,'["1",["dog",0.9,null,[]]]');
INSERT INTO "answers" VALUES('2cfb1de11b5ab9f7e5dc1dc24e8667cfb5c4a4d1',20,'["1",["dog",0.9,null,[]]]');
INSERT INTO "answers" VALUES('2cfb1de11b5ab9f7e5dc1dc24e8667cfb5c4a4d1',21,'["1",["dog",0.9,null,[]]]');
INSERT INTO "answers" VALUES('2cfb1de11b5ab9f7e5dc1dc24e8667cfb5c4a4d1',22,'["1",["dog",0.9,null,[]]]');
INSERT INTO "answers" VALUES('2cfb1de11b5ab9f7e5dc1dc24e8667cfb5c4a4d1',23,'["1",["dog",0.9,null,[]]]');
CREATE TABLE claims (
    stream TEXT NOT NULL, query INTEGER NOT NULL, holder TEXT NOT NULL, pid INTEGER NOT NULL, birth TEXT NOT NULL,
    until REAL NOT NULL, PRIMARY KEY (stream, query)
) WITHOUT ROWID
;
COMMIT;
PRAGMA user_version = 1;
