//! Numbers response keys.

use std::collections::HashMap;

use crate::prepare::plan::ResponseKey;

/// Assigns each response key a number. `__typename` is always [`ResponseKey::TYPENAME`].
pub struct ResponseKeys {
    names: Vec<Box<str>>,
    by_name: HashMap<Box<str>, ResponseKey>,
}

impl ResponseKeys {
    /// Starts with names that are numbered already, after `__typename`.
    pub fn new(names: Vec<Box<str>>) -> Self {
        let mut keys = Self {
            names: Vec::new(),
            by_name: HashMap::new(),
        };
        keys.intern("__typename");
        for name in names {
            keys.intern(&name);
        }
        keys
    }

    /// The number of `name`, a new one if it has none yet.
    pub fn intern(&mut self, name: &str) -> ResponseKey {
        if let Some(key) = self.by_name.get(name) {
            return *key;
        }
        let key = ResponseKey(self.names.len() as u32);
        self.names.push(name.into());
        self.by_name.insert(name.into(), key);
        key
    }

    /// All names, by their numbers.
    pub fn into_names(self) -> Vec<Box<str>> {
        self.names
    }
}
