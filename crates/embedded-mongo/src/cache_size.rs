//! How much memory a mongod takes for its cache.

/// The least that the server takes.
pub(crate) const CACHE_MEGABYTES_MIN: u32 = 256;
/// More does not help a stack on one machine.
const CACHE_MEGABYTES_MAX: u32 = 2048;
/// The cache's part of the machine's memory.
const MEMORY_DIVISOR: u64 = 8;

/// The cache of a mongod that has this machine to share with a few services, in megabytes.
pub fn for_this_machine() -> u32 {
    let memory = std::fs::read_to_string("/proc/meminfo").ok();
    let kilobytes = memory.as_deref().and_then(|it| kilobytes(it, "MemTotal:"));
    kilobytes.map_or(CACHE_MEGABYTES_MIN, |kilobytes| of_memory(kilobytes / 1024))
}

/// The memory that programs can have now, in megabytes, where the system tells it.
pub fn available_megabytes() -> Option<u64> {
    let memory = std::fs::read_to_string("/proc/meminfo").ok()?;
    Some(kilobytes(&memory, "MemAvailable:")? / 1024)
}

fn of_memory(megabytes: u64) -> u32 {
    let part = u32::try_from(megabytes / MEMORY_DIVISOR).unwrap_or(u32::MAX);
    part.clamp(CACHE_MEGABYTES_MIN, CACHE_MEGABYTES_MAX)
}

fn kilobytes(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_an_eighth_of_the_memory_within_bounds() {
        let meminfo = "MemTotal:       24592500 kB\nMemFree:  100 kB\n";
        assert_eq!(kilobytes(meminfo, "MemTotal:"), Some(24_592_500));
        assert_eq!(kilobytes(meminfo, "MemFree:"), Some(100));
        assert_eq!(kilobytes(meminfo, "MemAvailable:"), None);
        assert_eq!(of_memory(1_000), 256);
        assert_eq!(of_memory(8_192), 1_024);
        assert_eq!(of_memory(64_000), 2_048);
    }
}
