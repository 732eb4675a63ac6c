//! Limits on operations, their variables and their responses.

use std::time::Duration;

use service::duration;

/// What happens to an operation above `LIMIT_COST_MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum CostMode {
    /// Refuse the operation with `MAX_COST_EXCEEDED`.
    Enforce,
    /// Execute the operation, and count it in the metrics.
    Measure,
}

/// Limits on operations, their variables and their responses. Each has its own error code
/// (`error/code.rs`).
#[derive(Clone, Debug, clap::Args)]
pub struct Limits {
    /// Limit the lexical tokens of a document.
    #[arg(long, env = "LIMIT_TOKENS_MAX", default_value_t = Self::default().tokens_max)]
    pub tokens_max: usize,
    /// Limit the nesting of selection sets, with fragments expanded.
    #[arg(long, env = "LIMIT_DEPTH_MAX", default_value_t = Self::default().depth_max)]
    pub depth_max: usize,
    /// Limit the aliases of an operation, with fragments expanded.
    #[arg(long, env = "LIMIT_ALIASES_MAX", default_value_t = Self::default().aliases_max)]
    pub aliases_max: usize,
    /// Limit the root fields of an operation, with fragments expanded.
    #[arg(long, env = "LIMIT_ROOT_FIELDS_MAX", default_value_t = Self::default().root_fields_max)]
    pub root_fields_max: usize,
    /// Limit the directives on one element of a document.
    #[arg(long, env = "LIMIT_DIRECTIVES_MAX", default_value_t = Self::default().directives_max)]
    pub directives_max: usize,
    /// Limit the selections of an operation, counted after every fragment is expanded where it is
    /// spread.
    #[arg(long, env = "LIMIT_SELECTIONS_MAX", default_value_t = Self::default().selections_max)]
    pub selections_max: usize,
    /// Limit the entity representations in one request to a subgraph.
    #[arg(long, env = "LIMIT_REPRESENTATIONS_MAX", default_value_t = Self::default().representations_max)]
    pub representations_max: usize,
    /// Limit the estimated cost of an operation, or of one event of a subscription. By default each
    /// object that may be returned costs 1 and a mutation 10 more; the schema's `@cost` and
    /// `@listSize` change that. 50,000 is more than twice the cost of 100 objects with 100 objects
    /// below each.
    #[arg(long, env = "LIMIT_COST_MAX", default_value_t = Self::default().cost_max)]
    pub cost_max: u64,
    /// Choose what happens above `LIMIT_COST_MAX`: `enforce` refuses the operation, `measure`
    /// executes it and counts it in the metrics.
    #[arg(long, env = "LIMIT_COST_MODE", value_enum, default_value_t = Self::default().cost_mode)]
    pub cost_mode: CostMode,
    /// Assume this length for a list in the cost estimate when neither the schema nor an argument
    /// gives one.
    #[arg(long, env = "LIMIT_LIST_SIZE_ASSUMED", default_value_t = Self::default().list_size_assumed)]
    pub list_size_assumed: u32,
    /// Limit the bytes of all subgraph responses to one operation together, and of the operation's
    /// own response. The default is as large as one subgraph response may be
    /// (`SUBGRAPH_BODY_BYTES_MAX`).
    #[arg(long, env = "LIMIT_ANSWER_BYTES_MAX", default_value_t = Self::default().answer_bytes_max)]
    pub answer_bytes_max: usize,
    /// Limit the objects in all subgraph responses to one operation; an entity that is fetched once
    /// counts once. The default is ten times `LIMIT_COST_MAX` and takes less than 100 MB of memory.
    #[arg(long, env = "LIMIT_OBJECTS_MAX", default_value_t = Self::default().objects_max)]
    pub objects_max: usize,
    /// Limit the bytes of the variables, as JSON.
    #[arg(long, env = "LIMIT_VARIABLES_BYTES_MAX", default_value_t = Self::default().variables_bytes_max)]
    pub variables_bytes_max: usize,
    /// Limit the nesting of lists and objects in the variables.
    #[arg(long, env = "LIMIT_VARIABLES_DEPTH_MAX", default_value_t = Self::default().variables_depth_max)]
    pub variables_depth_max: usize,
    /// Limit the items of one list in the variables.
    #[arg(long, env = "LIMIT_VARIABLES_LIST_MAX", default_value_t = Self::default().variables_list_max)]
    pub variables_list_max: usize,
    /// Limit the new documents of all clients that wait to be prepared. Beyond it, the client with
    /// the most waiting is refused. The default matches `LIMIT_PREPARE_TIMEOUT`: on two processors,
    /// 128 large documents of about 30 ms each take longer than that, so a document further back
    /// would time out anyway.
    #[arg(long, env = "LIMIT_PREPARE_QUEUE_MAX", default_value_t = Self::default().prepare_queue_max)]
    pub prepare_queue_max: usize,
    /// Fail an operation whose parsing, validation and planning take longer than this together,
    /// including the wait for a turn.
    #[arg(long, env = "LIMIT_PREPARE_TIMEOUT", default_value = "2s", value_parser = duration)]
    pub prepare_timeout: Duration,
    /// Lower the priority of the threads that prepare new documents by this much (Linux niceness, 0
    /// to 19), so that requests with prepared documents come first.
    #[arg(long, env = "LIMIT_PREPARE_NICENESS", default_value_t = Self::default().prepare_niceness, value_parser = clap::value_parser!(u8).range(0..=19))]
    pub prepare_niceness: u8,
    /// While threads wait for a processor and other addresses have requests, let the new documents
    /// of one client address take at most this percentage of all processors, after 100 ms of
    /// processor time at once. The address's further documents wait; documents that are prepared
    /// already do not. To execute a new document takes several times as long as to prepare it, so
    /// the default is low. 100 turns this off.
    #[arg(long, env = "LIMIT_PREPARE_CLIENT_PERCENT", default_value_t = Self::default().prepare_client_percent, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub prepare_client_percent: u8,
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
            prepare_client_percent: 2,
        }
    }
}
