//! What an operation and its variables may cost.

use std::time::Duration;

use graphql_transport::settings::duration;

/// What happens to an operation that costs too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum CostMode {
    /// It is refused.
    Enforce,
    /// It is executed and counted.
    Measure,
}

/// What an operation and its variables may cost. Each has its own error code (`error.rs`).
#[derive(Clone, Debug, clap::Args)]
pub struct Limits {
    /// Lexical tokens of the document.
    #[arg(long, env = "LIMIT_TOKENS_MAX", default_value_t = Self::default().tokens_max)]
    pub tokens_max: usize,
    /// Nesting of selection sets, with fragments followed.
    #[arg(long, env = "LIMIT_DEPTH_MAX", default_value_t = Self::default().depth_max)]
    pub depth_max: usize,
    /// Aliases, with fragments followed.
    #[arg(long, env = "LIMIT_ALIASES_MAX", default_value_t = Self::default().aliases_max)]
    pub aliases_max: usize,
    /// Fields at the root of the operation, with fragments followed.
    #[arg(long, env = "LIMIT_ROOT_FIELDS_MAX", default_value_t = Self::default().root_fields_max)]
    pub root_fields_max: usize,
    /// Directives on one element of the document.
    #[arg(long, env = "LIMIT_DIRECTIVES_MAX", default_value_t = Self::default().directives_max)]
    pub directives_max: usize,
    /// Selections after every fragment is written out where it is spread.
    #[arg(long, env = "LIMIT_SELECTIONS_MAX", default_value_t = Self::default().selections_max)]
    pub selections_max: usize,
    /// Entity representations in one subgraph request.
    #[arg(long, env = "LIMIT_REPRESENTATIONS_MAX", default_value_t = Self::default().representations_max)]
    pub representations_max: usize,
    /// The estimated cost of an operation, or of one event of a subscription: 1 for each object that it may
    /// return, 10 more for a mutation, or as the schema's `@cost` and `@listSize` say. 50,000 is more than
    /// twice a page of 100 objects with 100 below each.
    #[arg(long, env = "LIMIT_COST_MAX", default_value_t = Self::default().cost_max)]
    pub cost_max: u64,
    /// What happens above `LIMIT_COST_MAX`: `enforce` refuses the operation, `measure` only counts it.
    #[arg(long, env = "LIMIT_COST_MODE", value_enum, default_value_t = Self::default().cost_mode)]
    pub cost_mode: CostMode,
    /// How long a list is for the estimate where neither the schema nor an argument says so.
    #[arg(long, env = "LIMIT_LIST_SIZE_ASSUMED", default_value_t = Self::default().list_size_assumed)]
    pub list_size_assumed: u32,
    /// Bytes of all the subgraphs' answers to an operation together, and of its own answer: as much as one
    /// subgraph's answer may have.
    #[arg(long, env = "LIMIT_ANSWER_BYTES_MAX", default_value_t = Self::default().answer_bytes_max)]
    pub answer_bytes_max: usize,
    /// Objects in all the subgraphs' answers to an operation, an entity that is fetched once counted once:
    /// ten times `LIMIT_COST_MAX`, below 100 MB of memory.
    #[arg(long, env = "LIMIT_OBJECTS_MAX", default_value_t = Self::default().objects_max)]
    pub objects_max: usize,
    /// The variables' JSON text, in bytes.
    #[arg(long, env = "LIMIT_VARIABLES_BYTES_MAX", default_value_t = Self::default().variables_bytes_max)]
    pub variables_bytes_max: usize,
    /// Nesting of lists and objects in the variables.
    #[arg(long, env = "LIMIT_VARIABLES_DEPTH_MAX", default_value_t = Self::default().variables_depth_max)]
    pub variables_depth_max: usize,
    /// Entries of one list in the variables.
    #[arg(long, env = "LIMIT_VARIABLES_LIST_MAX", default_value_t = Self::default().variables_list_max)]
    pub variables_list_max: usize,
    /// New documents that may wait for their turn to be prepared, of all clients together; then whoever has
    /// the most waiting is refused. 128 large ones, of some 30 ms each, take longer than
    /// `LIMIT_PREPARE_TIMEOUT` on two processors: who waits after them would be refused anyway, and later.
    #[arg(long, env = "LIMIT_PREPARE_QUEUE_MAX", default_value_t = Self::default().prepare_queue_max)]
    pub prepare_queue_max: usize,
    /// Parsing, validating and planning together, the wait for a turn among it.
    #[arg(long, env = "LIMIT_PREPARE_TIMEOUT", default_value = "2s", value_parser = duration)]
    pub prepare_timeout: Duration,
    /// How much less of a processor the threads that prepare new documents get than those that answer
    /// requests (the niceness of Linux, 0 to 19): requests with known documents come first.
    #[arg(long, env = "LIMIT_PREPARE_NICENESS", default_value_t = Self::default().prepare_niceness, value_parser = clap::value_parser!(u8).range(0..=19))]
    pub prepare_niceness: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tokens_max: 15_000,
            depth_max: 32,
            aliases_max: 200,
            root_fields_max: 100,
            directives_max: 20,
            selections_max: 5_000,
            representations_max: 50_000,
            cost_max: 50_000,
            cost_mode: CostMode::Enforce,
            list_size_assumed: 10,
            answer_bytes_max: 64 * 1024 * 1024,
            objects_max: 500_000,
            variables_bytes_max: 2 * 1024 * 1024,
            variables_depth_max: 32,
            variables_list_max: 10_000,
            prepare_queue_max: 128,
            prepare_timeout: Duration::from_secs(2),
            prepare_niceness: 5,
        }
    }
}
