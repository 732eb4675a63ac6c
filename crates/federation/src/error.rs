//! Why a supergraph cannot be read, or an operation not be planned.

/// Why SDL is no supergraph that can be planned for. The text names the place in the SDL where it can.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SupergraphError {
    /// Not GraphQL SDL, or not a schema that holds together.
    #[error("the supergraph is not valid SDL: {0}")]
    Invalid(String),
    /// SDL without the join specification's parts.
    #[error("this is not a supergraph: {0}")]
    NotASupergraph(&'static str),
    /// A specification that has to be followed, and that this crate does not know: without it the
    /// supergraph would be served in another way than it is meant, or unprotected.
    #[error("the supergraph needs {url} for {purpose}, which this gateway does not know")]
    UnknownFeature {
        /// Of the specification, as `@link` has it.
        url: String,
        /// `SECURITY` or `EXECUTION`: what `for` says in `@link`.
        purpose: String,
    },
    /// Join directives that contradict each other or the types.
    #[error("the supergraph's join directives do not fit its types: {0}")]
    Joins(String),
    /// A directive of authorisation that does not say what it requires, or too many of them.
    #[error("the supergraph's requirements of authorisation cannot be followed: {0}")]
    Authorization(String),
}

/// Why there is no plan.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// No subgraph that can be asked has the field.
    #[error("no subgraph can be asked for {0}")]
    Unreachable(String),
    /// It would be deeper or wider than any that is useful.
    #[error("the operation is too large to be planned")]
    TooLarge,
    /// The supergraph's keys and requirements lead so many ways that not all could be tried. Names the type or
    /// the field that was planned when the steps were used up.
    #[error("planning takes more steps than are allowed; it stopped at {0}")]
    TooManySteps(String),
    /// It was not found in time.
    #[error("no plan was found in time")]
    OutOfTime,
}
