//! The comments subgraph as its clients see it, on a real MongoDB.

mod bad_input;
mod blocked_authors;
mod deleted_posts;
mod health;
mod held_comments;
mod hostile;
mod incomplete_documents;
mod indexes;
mod lagged;
mod large_answers;
mod live;
mod moderation;
mod moderation_live;
mod moderation_queue;
mod moderators;
mod mutations;
mod older_documents;
mod owners;
mod pages;
mod service;
mod vanished;
