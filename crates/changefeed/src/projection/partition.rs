//! Which targets belong to which partition: a stable hash of the target's `_id`.
//!
//! A *set* of partitions is one generation of the projection, maintained by as many leaders as it has partitions.
//! Each partition is a projection of its own in all that is guarded: it has a checkpoint, a lease, an epoch, a session,
//! and marks for repair, all under one name. A target belongs to exactly one partition of a set, so a change that
//! moves a source document from one target to another is two halves, each applied where its target belongs.
//!
//! The hash is part of what is stored: another one would give targets to other partitions than those that hold them.

use bson::{Bson, Document};
use serde::{Deserialize, Serialize};

/// The first value of FNV-1a with 64 bits, and its factor.
const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

/// A generation of the projection, and the partitions that maintain it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SetId {
    /// Never given to another set; 0 is that of [`SetId::WHOLE`].
    pub generation: i64,
    /// How many partitions it has.
    pub count: u32,
}

impl SetId {
    /// The projection that was never divided: its only leader keeps the generations by itself, in its checkpoint.
    pub const WHOLE: Self = Self {
        generation: 0,
        count: 1,
    };

    /// Its partitions, in the order of their numbers.
    pub fn parts(self, projection: &str) -> impl Iterator<Item = Part> {
        (0..self.count).map(move |number| Part::new(projection, self, number))
    }
}

/// One partition of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    projection: String,
    pub set: SetId,
    pub number: u32,
    /// Names its checkpoint, its lease, its marks for repair and the commands for it.
    pub name: String,
}

impl Part {
    pub fn new(projection: &str, set: SetId, number: u32) -> Self {
        let name = match set {
            SetId::WHOLE => projection.to_owned(),
            SetId { generation, .. } => format!("{projection}/{generation}/{number}"),
        };
        Self {
            projection: projection.to_owned(),
            set,
            number,
            name,
        }
    }

    /// Whether it is all of a projection that was never divided.
    pub fn is_whole(&self) -> bool {
        self.set == SetId::WHOLE
    }

    /// Whether a target belongs to it.
    pub fn holds(&self, target: &Bson) -> bool {
        self.set.count == 1 || number_of(hash(target), self.set.count) == self.number
    }

    /// The name of the partition of the same set that a target belongs to.
    pub fn name_of(&self, target: &Bson) -> String {
        if self.holds(target) {
            return self.name.clone();
        }
        let number = number_of(hash(target), self.set.count);
        Self::new(&self.projection, self.set, number).name
    }
}

/// The partition, of so many, that a target with this hash belongs to.
pub(crate) fn number_of(hash: u64, count: u32) -> u32 {
    // Less than `count`, which is a `u32`.
    (hash % u64::from(count.max(1))) as u32
}

/// The hash of a target's `_id`. Values that the server takes for the same have the same hash: numbers of all types,
/// strings and symbols. (Under a collation more strings are the same, which this does not know.)
pub(crate) fn hash(id: &Bson) -> u64 {
    let mut hasher = Hasher(FNV_BASIS);
    hasher.value(id);
    hasher.finish()
}

struct Hasher(u64);

impl Hasher {
    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
        }
    }

    fn tagged(&mut self, tag: u8, bytes: &[u8]) {
        self.bytes(&[tag]);
        self.bytes(bytes);
    }

    fn number(&mut self, number: f64) {
        // One zero, and one that is no number.
        let number = if number.is_nan() {
            f64::NAN
        } else {
            number + 0.0
        };
        self.tagged(1, &number.to_bits().to_be_bytes());
    }

    fn document(&mut self, document: &Document) {
        self.tagged(3, &[]);
        for (name, value) in document {
            self.bytes(name.as_bytes());
            self.bytes(&[0]);
            self.value(value);
        }
        self.bytes(&[0]);
    }

    fn value(&mut self, value: &Bson) {
        match value {
            Bson::Int32(number) => self.number(f64::from(*number)),
            // Numbers that are the same stay so when they are rounded.
            Bson::Int64(number) => self.number(*number as f64),
            Bson::Double(number) => self.number(*number),
            Bson::Decimal128(number) => {
                self.number(number.to_string().parse().unwrap_or(f64::NAN));
            }
            Bson::String(text) | Bson::Symbol(text) => self.tagged(2, text.as_bytes()),
            Bson::Document(document) => self.document(document),
            Bson::Array(values) => {
                self.tagged(4, &[]);
                values.iter().for_each(|value| self.value(value));
                self.bytes(&[0]);
            }
            Bson::ObjectId(id) => self.tagged(7, &id.bytes()),
            Bson::Binary(binary) => {
                self.tagged(5, &[u8::from(binary.subtype)]);
                self.bytes(&binary.bytes);
            }
            Bson::Boolean(value) => self.tagged(8, &[u8::from(*value)]),
            Bson::DateTime(time) => self.tagged(9, &time.timestamp_millis().to_be_bytes()),
            Bson::Timestamp(time) => {
                self.tagged(17, &time.time.to_be_bytes());
                self.bytes(&time.increment.to_be_bytes());
            }
            // No other type is anybody's id: they all belong together.
            _ => self.tagged(0, &[]),
        }
    }

    /// Spreads what differs in a few bits over all of them (the last step of MurmurHash3).
    fn finish(self) -> u64 {
        let mut hash = self.0;
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        hash ^ (hash >> 33)
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;
    use bson::oid::ObjectId;

    use super::*;

    #[test]
    fn the_hash_is_the_one_that_is_stored() {
        let id = ObjectId::parse_str("65a1b2c3d4e5f60718293a4b").expect("an id");
        let hashes = [
            hash(&Bson::from(id)),
            hash(&Bson::from(1_i64)),
            hash(&Bson::from("a post")),
            hash(&Bson::from(doc! { "a": 1, "b": "c" })),
        ];
        assert_eq!(hashes, STORED);
    }

    const STORED: [u64; 4] = [
        0x06c4_f471_fd82_4934,
        0x3b7e_7d63_0f7c_3e1c,
        0x387a_44b4_2eb5_8652,
        0x5f89_f749_210b_c01b,
    ];

    #[test]
    fn what_the_server_takes_for_the_same_has_the_same_hash() {
        let one = hash(&Bson::from(1));
        assert_eq!(hash(&Bson::from(1_i64)), one);
        assert_eq!(hash(&Bson::from(1.0)), one);
        let decimal = Bson::Decimal128("1.00".parse().expect("a number"));
        assert_eq!(hash(&decimal), one);
        assert_eq!(hash(&Bson::from(-0.0)), hash(&Bson::from(0)));
        assert_eq!(
            hash(&Bson::from(doc! { "a": 1 })),
            hash(&Bson::from(doc! { "a": 1.0 }))
        );
        assert_eq!(hash(&Bson::Symbol("a".to_owned())), hash(&Bson::from("a")));
        assert_ne!(hash(&Bson::from("1")), one);
    }

    #[test]
    fn ids_of_one_process_spread_over_the_partitions() {
        for count in [2, 3, 4, 8] {
            let mut held = vec![0; count as usize];
            for _ in 0..8_000 {
                let number = number_of(hash(&Bson::from(ObjectId::new())), count);
                held[number as usize] += 1;
            }
            let even = 8_000 / count as usize;
            let is_even = |held: &usize| (even * 8 / 10..even * 12 / 10).contains(held);
            assert!(held.iter().all(is_even), "{held:?}");
        }
    }

    #[test]
    fn a_target_belongs_to_exactly_one_partition_of_a_set() {
        let set = SetId {
            generation: 7,
            count: 4,
        };
        let parts: Vec<Part> = set.parts("newest").collect();
        for id in 0..100_i64 {
            let target = Bson::from(id);
            let holding: Vec<&Part> = parts.iter().filter(|part| part.holds(&target)).collect();
            assert_eq!(holding.len(), 1);
            assert!(
                parts
                    .iter()
                    .all(|part| part.name_of(&target) == holding[0].name)
            );
        }
        assert_eq!(parts[3].name, "newest/7/3");
        let whole = Part::new("newest", SetId::WHOLE, 0);
        assert_eq!(whole.name, "newest");
        assert!(whole.holds(&Bson::from(5)));
    }
}
