//! Response keys as small numbers.

use std::collections::HashMap;

use crate::prepare::plan::ResponseKey;

/// Gives every name one number. `__typename` is [`ResponseKey::TYPENAME`].
pub struct ResponseKeys {
    names: Vec<Box<str>>,
    by_name: HashMap<Box<str>, ResponseKey>,
}

impl ResponseKeys {
    /// Begins with names that have their numbers already.
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

    /// The number of `name`.
    pub fn intern(&mut self, name: &str) -> ResponseKey {
        if let Some(key) = self.by_name.get(name) {
            return *key;
        }
        let key = ResponseKey(self.names.len() as u32);
        self.names.push(name.into());
        self.by_name.insert(name.into(), key);
        key
    }

    /// The names by their numbers.
    pub fn into_names(self) -> Vec<Box<str>> {
        self.names
    }
}
