//! embedded-mongo against a real mongod.

mod guard;
mod replica_set;
mod test_database;
