//! Values that everything of one client shares.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use crate::client_key::ClientKey;

/// One value for each client, made when it is first asked for, and forgotten when nothing uses it any more.
#[derive(Debug)]
pub struct PerClient<T>(Mutex<HashMap<ClientKey, Weak<T>>>);

impl<T> PerClient<T> {
    /// The client's value; `make` makes it if there is none.
    pub fn of(&self, client: ClientKey, make: impl FnOnce() -> T) -> Arc<T> {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = values.get(&client).and_then(Weak::upgrade) {
            return value;
        }
        if values.len() == values.capacity() {
            values.retain(|_, value| value.strong_count() > 0);
            // The next look through all of them comes when they are twice as many.
            let live = values.len();
            values.shrink_to(2 * live);
            values.reserve(live);
        }
        let value = Arc::new(make());
        values.insert(client, Arc::downgrade(&value));
        value
    }

    /// The values that are in use.
    #[cfg(test)]
    pub(crate) fn in_use(&self) -> Vec<Arc<T>> {
        let values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        values.values().filter_map(Weak::upgrade).collect()
    }
}

impl<T> Default for PerClient<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u8) -> ClientKey {
        ClientKey::of([10, 0, 0, number].into())
    }

    #[test]
    fn it_is_the_same_while_it_is_in_use() {
        let values = PerClient::default();
        let first = values.of(client(1), || 1);
        assert_eq!(*values.of(client(1), || 2), 1);
        assert_eq!(*values.of(client(2), || 3), 3);
        drop(first);
        assert_eq!(*values.of(client(1), || 4), 4);
    }

    #[test]
    fn clients_that_are_gone_are_forgotten() {
        let values = PerClient::default();
        for number in 0..=255 {
            drop(values.of(client(number), || ()));
        }
        let known = values.0.lock().expect("no panic").len();
        assert!(known < 16, "{known}");
    }
}
