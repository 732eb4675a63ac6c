//! Finds, fetches and runs a mongod replica set.
