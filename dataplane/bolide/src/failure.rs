//! What a failed command prints and returns: always one line, and an exit code that scripts can tell apart.

use std::process::ExitCode;

use bolide_client::ClientError;

/// The request was understood and failed.
const FAILED: u8 = 1;
/// Wrong arguments, a bad manifest or a bad configuration file; clap uses the same code.
const USAGE: u8 = 2;
/// No nameserver or broker answered at the given address.
const UNREACHABLE: u8 = 3;

/// The input of the user is wrong: nothing was started and nothing was changed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// A [`Usage`] as an error.
pub(crate) fn usage(text: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Usage(text.into()))
}

/// The error with its causes, on one line.
pub(crate) fn one_line(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    text.split('\n').map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}

/// The exit code for an error, from the first cause that decides it.
pub(crate) fn exit_code(error: &anyhow::Error) -> ExitCode {
    let code = error
        .chain()
        .find_map(|cause| {
            if cause.is::<Usage>() {
                return Some(USAGE);
            }
            match cause.downcast_ref::<ClientError>() {
                Some(ClientError::Unreachable { .. }) => Some(UNREACHABLE),
                Some(ClientError::Address { .. }) => Some(USAGE),
                _ => None,
            }
        })
        .unwrap_or(FAILED);
    ExitCode::from(code)
}

/// Whether the reader of standard output has gone away.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_joined_into_one_line() {
        let error = anyhow::anyhow!("first\n  second").context("outer");
        assert_eq!(one_line(&error), "outer: first; second");
    }

    #[test]
    fn usage_below_a_context_still_decides_the_exit_code() {
        let error = usage("bad key").context("cluster.yaml");
        assert_eq!(format!("{:?}", exit_code(&error)), format!("{:?}", ExitCode::from(USAGE)));
        let other = anyhow::anyhow!("x");
        assert_eq!(format!("{:?}", exit_code(&other)), format!("{:?}", ExitCode::from(FAILED)));
    }
}
