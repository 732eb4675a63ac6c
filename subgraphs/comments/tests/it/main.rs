//! The comments subgraph as its clients see it, on a real MongoDB.

mod bad_input;
mod blocked_authors;
mod deleted_posts;
mod fair_use;
mod health;
mod held_comments;
mod held_edits;
mod hostile;
mod incomplete_documents;
mod indexes;
mod lagged;
mod large_answers;
mod live;
mod locked_documents;
mod moderation;
mod moderation_live;
mod moderation_queue;
mod moderators;
mod mutations;
mod odd_entries;
mod older_documents;
mod owners;
mod pages;
mod secondaries;
mod service;
mod vanished;
