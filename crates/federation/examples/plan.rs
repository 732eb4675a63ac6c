//! Prints the plan of an operation:
//! `cargo run -p federation --example plan -- supergraph.graphql query.graphql [OPERATION]`

use std::{env, error::Error, fs};

use apollo_compiler::ExecutableDocument;
use federation::{Operation, PlanOptions, Supergraph, plan};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(supergraph), Some(query)) = (arguments.next(), arguments.next()) else {
        return Err("usage: plan SUPERGRAPH QUERY [OPERATION]".into());
    };
    let name = arguments.next();
    let supergraph = Supergraph::parse(&fs::read_to_string(supergraph)?)?;
    let text = fs::read_to_string(&query)?;
    let document = ExecutableDocument::parse_and_validate(supergraph.api_schema(), text, query)
        .map_err(|invalid| invalid.errors.to_string())?;
    let operation = document
        .operations
        .get(name.as_deref())
        .map_err(|error| error.message().to_string())?;
    let operation = Operation::new(&supergraph, &document, operation)?;
    print!("{}", plan(&supergraph, &operation, PlanOptions::default())?);
    Ok(())
}
