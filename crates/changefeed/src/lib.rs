//! Durable MongoDB change streams: exactly-once projections and resumable live topics.
