//! Reading and writing JSON without unescaping it.

pub mod scan;
pub mod write;
