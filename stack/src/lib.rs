//! The one-command local stack.
