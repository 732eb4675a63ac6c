//! Checks the limits on variables, without recursion, before anything else reads them.

use crate::{
    config::Limits,
    error::{Code, RequestError},
    json::scan::JsonScanner,
};

/// Checks the size, the nesting and the list lengths of the variables.
///
/// # Errors
/// `MAX_VARIABLES_EXCEEDED`.
pub fn check(json: &[u8], limits: &Limits) -> Result<(), RequestError> {
    let refusal = |what: String| Err(RequestError::new(Code::MaxVariables, what));
    if json.len() > limits.variables_bytes_max {
        return refusal(format!(
            "the variables have more than {} bytes",
            limits.variables_bytes_max
        ));
    }
    // The number of items so far in each open bracket.
    let mut open: Vec<usize> = Vec::new();
    let mut scanner = JsonScanner::new(json);
    loop {
        match scanner.peek() {
            0 => return Ok(()),
            b'"' => {
                if scanner.string().is_err() {
                    // Not JSON. The reader reports where.
                    return Ok(());
                }
                continue;
            }
            b'{' | b'[' => open.push(1),
            b'}' | b']' => drop(open.pop()),
            b',' => {
                if let Some(entries) = open.last_mut() {
                    *entries += 1;
                }
            }
            _ => {}
        }
        scanner.skip_byte();
        if open.len() > limits.variables_depth_max {
            return refusal(format!(
                "the variables have more than {} levels",
                limits.variables_depth_max
            ));
        }
        if open
            .last()
            .is_some_and(|entries| *entries > limits.variables_list_max)
        {
            return refusal(format!(
                "a list in the variables has more than {} entries",
                limits.variables_list_max
            ));
        }
    }
}
