//! The schema of each subgraph.

use std::fmt::Write as _;

use super::{World, extensions::of_first_version};

/// What every subgraph has.
const SHARED: &str = "scalar Json enum Colour { RED GREEN BLUE }
type Box @shareable { a: Int b: [String!] inner: Box }
interface Thing { FIELDS }
";

impl World {
    pub(super) fn sdl(&self, index: usize) -> String {
        let part = &self.parts[index];
        let roots = format!(
            "type Query {{\n  {}\n}}\ntype Mutation {{\n  {}\n}}\n",
            part.query.join("\n  "),
            part.mutation.join("\n  ")
        );
        if self.notes_part == Some(index) {
            return format!("{}{roots}", self.notes_schema());
        }
        let mut sdl = SHARED.to_owned();
        if !self.knows_things(index) {
            sdl = sdl.replace("interface Thing { FIELDS }\n", "");
        } else if self.notes_part.is_some() {
            sdl = sdl.replace("interface Thing", "interface Thing @key(fields: \"id\")");
        }
        sdl = sdl.replace("FIELDS", &self.thing_fields(index));
        for (number, entity) in self.entities.iter().enumerate() {
            let home = entity.homes.iter().position(|home| *home == index);
            let fields = part.types.get(&entity.name);
            if home.is_none() && fields.is_none() {
                continue;
            }
            let (keys, own) = match home {
                Some(home) => entity.keys_and_fields(home),
                None => (
                    "@key(fields: \"id\", resolvable: false)".to_owned(),
                    "id: ID!",
                ),
            };
            let code = if part.codes.contains(&entity.name) && !own.contains("code") {
                "code: Int! @shareable"
            } else {
                ""
            };
            let implements = if entity.is_thing && self.knows_things(index) {
                "implements Thing"
            } else {
                ""
            };
            let mut fields = fields.map(|fields| fields.join("\n  ")).unwrap_or_default();
            if !implements.is_empty() {
                fields.push_str(&self.foreign_label(index, &fields));
            }
            let (start, own) = self.extended(index, number, own);
            let _ = writeln!(
                sdl,
                "{start} {} {implements} {keys} {{\n  {own} {code}\n  {fields}\n}}",
                entity.name
            );
        }
        for about in &self.abouts {
            if let Some(fields) = part.types.get(&about.name) {
                let fields = fields.join("\n  ");
                let _ = writeln!(sdl, "type {} {{\n  {fields}\n}}", about.name);
            }
        }
        let members = part.members.iter().map(|member| format!(" | {member}"));
        let _ = writeln!(sdl, "union Any = Box{}", members.collect::<String>());
        sdl.push_str(&roots);
        match self.is_of_first_version(index) {
            true => of_first_version(&sdl),
            false => sdl,
        }
    }

    /// The schemas, for the report of a failure.
    pub fn describe(&self) -> String {
        (0..self.parts.len())
            .map(|index| format!("--- s{index}\n{}", self.sdl(index)))
            .collect()
    }
}
