//! Federation, case by case: each answer is what one schema with all the data would give.

mod arguments;
mod choices;
mod entities;
mod errors;
mod externals;
mod federation_one;
mod inaccessible;
mod interface_objects;
mod interface_objects_of_entities;
mod interfaces;
mod internal_names;
mod intersections;
mod keys;
mod mismatches;
mod nodes;
mod overrides;
mod plans;
mod provides;
mod requires;
mod requires_arguments;
mod requires_fragments;
mod resumption;
mod roots;
mod scalars;
mod typename;
mod unions;
