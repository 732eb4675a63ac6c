//! Random documents, the same in every run.

/// A linear congruential generator: its seed determines all that it gives.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    pub(super) fn set(&mut self, text: &mut String, depth: u64, fragments: std::ops::Range<u64>) {
        text.push_str("{ ");
        for _ in 0..=self.below(3) {
            match self.below(8) {
                0 | 1 if depth < 4 => {
                    text.push_str(
                        [
                            "a ",
                            "x: a ",
                            "items(first: 2) ",
                            "_entities(representations: [{} {} {}]) ",
                        ][self.below(4) as usize],
                    );
                    self.set(text, depth + 1, fragments.clone());
                }
                2 if depth < 4 => {
                    text.push_str("... on T ");
                    self.set(text, depth + 1, fragments.clone());
                }
                3 | 4 if !fragments.is_empty() => {
                    let picked = fragments.start + self.below(fragments.end - fragments.start);
                    text.push_str(&format!("...F{picked} "));
                }
                5 => text.push_str("y: b "),
                6 => text.push_str("text "),
                _ => text.push_str("b "),
            }
        }
        text.push_str("} ");
    }
}
