//! All services and the import in one program, for the image: most of their code is the same, and is in the image once.
//!
//! The name that it is called by (`argv[0]`, as busybox does it) chooses one of them. In the image each of their names is
//! a link to this program.

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit code of a bad setting, too.
const BAD_CALL: u8 = 2;

fn main() -> ExitCode {
    let called_as = std::env::args_os().next().unwrap_or_default();
    let Some(service) = service(&called_as) else {
        let _ = writeln!(
            std::io::stderr(),
            "{}: there is no such program: posts, comments, gateway, pages and import are links to this one",
            called_as.display()
        );
        return ExitCode::from(BAD_CALL);
    };
    service()
}

/// The entry of the service or the import with this name, which may have a path before it.
fn service(called_as: &OsStr) -> Option<fn() -> ExitCode> {
    match Path::new(called_as).file_name().and_then(OsStr::to_str)? {
        "posts" => Some(posts::main),
        "comments" => Some(comments::main),
        "gateway" => Some(gateway::main),
        "pages" => Some(pages::main),
        "import" => Some(import::main),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_it_is_called_by_chooses_the_service() {
        for name in ["posts", "comments", "gateway", "pages", "import"] {
            assert!(service(name.as_ref()).is_some(), "{name}");
            let with_path = format!("/usr/local/bin/{name}");
            assert!(service(with_path.as_ref()).is_some(), "{name}");
        }
        for name in ["", "rejoinder", "posts/rejoinder", "/", "gateway2"] {
            assert!(service(name.as_ref()).is_none(), "{name}");
        }
    }
}
