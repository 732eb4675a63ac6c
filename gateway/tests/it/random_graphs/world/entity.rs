//! An entity type: which subgraphs know it by which keys, and which resolve its fields.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::field_set::Need;

/// A type of objects that keys find.
pub struct Entity {
    pub name: String,
    /// Does it implement `Thing`?
    pub is_thing: bool,
    /// The subgraphs that resolve it, the first by both of its keys.
    pub homes: Vec<usize>,
    /// The keys in each home.
    pub keys: Vec<&'static str>,
    /// The key that leads through its owner, where one of them is.
    pub key_by_owner: String,
    /// Fields by name: the subgraphs that resolve them.
    pub fields: BTreeMap<String, Vec<usize>>,
    /// Fields that have moved: the subgraphs that had them.
    pub overridden: BTreeMap<String, usize>,
    /// The names of fields with arguments.
    pub computed: Vec<String>,
    /// Fields that need others.
    pub requiring: BTreeMap<String, Requirement>,
}

/// What a field needs, and what it makes of it.
#[derive(Clone)]
pub struct Requirement {
    pub needs: Vec<Need>,
    /// The entity type that it leads to; none for a text of all that is needed.
    pub gives: Option<String>,
}

impl Entity {
    pub fn new(rng: &mut Rng, index: usize, parts: usize) -> Self {
        let mut homes: Vec<usize> = (0..parts).collect();
        rng.shuffle(&mut homes);
        homes.truncate(rng.usize(2..=parts));
        let mut keys = vec!["both"];
        let others = if rng.bool() {
            ["id", "id"]
        } else {
            ["code", "compound"]
        };
        keys.extend(homes.iter().skip(1).map(|_| others[rng.usize(..2)]));
        Self {
            name: format!("E{index}"),
            is_thing: rng.u8(..10) < 6,
            homes,
            keys,
            key_by_owner: String::new(),
            fields: BTreeMap::new(),
            overridden: BTreeMap::new(),
            computed: Vec::new(),
            requiring: BTreeMap::new(),
        }
    }

    /// Its keys in one of its homes, and the fields that they are made of.
    pub fn keys_and_fields(&self, home: usize) -> (String, &'static str) {
        let by_owner = &self.key_by_owner;
        let (keys, fields): (&[&str], _) = match self.keys[home] {
            "both" => (&["id", "code"], "id: ID! code: Int!"),
            "compound" => (&["code id"], "id: ID! code: Int!"),
            "code" => (&["code"], "id: ID! @shareable code: Int!"),
            "owner" => (&[by_owner], "id: ID! @shareable code: Int! @shareable"),
            "owner or id" => (&[by_owner, "id"], "id: ID! code: Int! @shareable"),
            _ => (&["id"], "id: ID!"),
        };
        let keys = keys.iter().map(|key| format!("@key(fields: \"{key}\")"));
        (keys.collect::<Vec<_>>().join(" "), fields)
    }

    /// Whether a subgraph finds it by its owner, and has its code from whoever asks.
    pub fn is_told_its_code(&self, part: usize) -> bool {
        let home = self.homes.iter().position(|home| *home == part);
        let is_by_owner = home.is_some_and(|home| self.keys[home] == "owner");
        let key = &self.key_by_owner;
        is_by_owner && (key.starts_with("code ") || key.ends_with(" code"))
    }
}
