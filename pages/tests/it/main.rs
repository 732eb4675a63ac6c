//! The page service over real sockets, with a graph whose answers are scripted.

mod addresses;
mod crowds;
mod document;
mod faults;
mod feeds;
mod heavy;
mod hostile;
mod previews;
mod support;
