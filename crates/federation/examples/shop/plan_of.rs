// The plan of a query over the shop: an expression that the tests in the crate's documentation include.
|query: &str| -> String {
    use apollo_compiler::ExecutableDocument;
    use federation::{Operation, PlanOptions, Supergraph, plan};

    let sdl = include_str!("supergraph.graphql");
    let supergraph = Supergraph::parse(sdl).expect("a supergraph");
    let schema = supergraph.api_schema();
    let document = ExecutableDocument::parse_and_validate(schema, query, "query.graphql");
    let document = document.expect("a valid query");
    let operation = document.operations.get(None).expect("one operation");
    let operation = Operation::new(&supergraph, &document, operation).expect("few selections");
    let plan = plan(&supergraph, &operation, PlanOptions::default());
    plan.expect("a plan").to_string()
}
