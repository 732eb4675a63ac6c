//! The whole system under test: real processes, real MongoDB, faults.
