//! Errors as people read them.

use std::error::Error;

/// An error and its causes in one line, each behind a colon; a cause that the error before has
/// already said is left out.
pub fn with_causes(error: &dyn Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !said.ends_with(&text) {
            said = format!("{said}: {text}");
        }
        cause = error.source();
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Wrapped {
        #[error("output x: {source}")]
        Saying { source: std::io::Error },
        #[error("cannot write x")]
        Silent { source: std::io::Error },
    }

    #[test]
    fn a_cause_is_said_once() {
        let cause = || std::io::Error::other("no space left");
        let saying = Wrapped::Saying { source: cause() };
        assert_eq!(with_causes(&saying), "output x: no space left");
        let silent = Wrapped::Silent { source: cause() };
        assert_eq!(with_causes(&silent), "cannot write x: no space left");
    }
}
