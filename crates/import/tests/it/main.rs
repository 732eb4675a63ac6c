//! Imports on a real MongoDB.

mod again;
mod case;
mod damaged;
mod disqus;
mod large;
mod live;
mod process;
mod wordpress;
