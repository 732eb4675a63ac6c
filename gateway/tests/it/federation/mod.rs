//! Federation, case by case: each answer is what one schema with all the data would give.

mod arguments;
mod choices;
mod entities;
mod errors;
mod externals;
mod federation_one;
mod interface_objects;
mod intersections;
mod keys;
mod mismatches;
mod nodes;
mod overrides;
mod plans;
mod provides;
mod requires;
mod requires_fragments;
mod roots;
mod scalars;
mod typename;
mod unions;
