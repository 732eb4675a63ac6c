//! Reading and writing JSON without unescaping it.

pub mod write;
