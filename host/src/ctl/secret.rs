//! Secrets as they are given on the command line, and how long an old one stays good.

use std::{
    convert::Infallible,
    fmt,
    fs::File,
    io::{self, Read},
    path::Path,
    str::FromStr,
};

use zeroize::Zeroizing;

use super::failure::Failure;
use crate::{
    admin::wire::{Problem, Secret},
    tenant::secrets::SECRET_BYTES_MAX,
};

/// What was typed where a secret belongs. Any text is taken here, so that no complaint of the parser quotes it.
#[derive(Clone)]
pub struct GivenSecret(Zeroizing<String>);

impl FromStr for GivenSecret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(Zeroizing::new(text.to_owned())))
    }
}

impl fmt::Debug for GivenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// A secret's text, and whether it stood on the command line for all to see.
#[derive(Debug)]
pub struct ReadSecret {
    /// The text.
    pub secret: Secret,
    /// It was typed in the clear: other users can see it in the process list, and the shell keeps it.
    pub exposed: bool,
}

/// Reads the secrets of one command: standard input gives one of them, once.
pub struct SecretReader<R> {
    stdin: Option<R>,
}

impl<R: Read> SecretReader<R> {
    /// `stdin` is what `@-` reads.
    pub fn new(stdin: R) -> Self {
        Self { stdin: Some(stdin) }
    }

    /// `NAME=VALUE`; see [`value`](Self::value).
    pub fn named(&mut self, given: &GivenSecret) -> Result<(String, ReadSecret), Failure> {
        let Some((name, value)) = given.0.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            let problem = Problem::new("USAGE", "a --secret is not of the form NAME=VALUE")
                .mend("write --secret webhook_secret=@FILE, or webhook_secret=@- for standard input");
            return Err(Failure::usage(problem));
        };
        Ok((name.to_owned(), self.read(name, value)?))
    }

    /// `@FILE`, `@-` or the text itself. One line end after the text does not belong to it.
    pub fn value(&mut self, name: &str, given: &GivenSecret) -> Result<ReadSecret, Failure> {
        self.read(name, &given.0)
    }

    fn read(&mut self, name: &str, value: &str) -> Result<ReadSecret, Failure> {
        let wrong = |place: &str, error: &dyn fmt::Display| {
            Failure::failed(Problem::new(
                "SECRET_UNREADABLE",
                format!("secret {name} cannot be read from {place}: {error}"),
            ))
        };
        let text = match value.strip_prefix('@') {
            None => Zeroizing::new(value.to_owned()),
            Some("-") => {
                let Some(stdin) = self.stdin.take() else {
                    let problem = Problem::new("USAGE", "standard input (@-) gives one secret only")
                        .mend("put the others into files and write @FILE");
                    return Err(Failure::usage(problem));
                };
                text_of(stdin).map_err(|error| wrong("standard input", &error))?
            }
            Some(file) => File::open(Path::new(file)).and_then(text_of).map_err(|error| wrong(file, &error))?,
        };
        if text.is_empty() || text.len() > SECRET_BYTES_MAX {
            let message = format!("secret {name} must have 1 to {SECRET_BYTES_MAX} bytes");
            return Err(Failure::failed(Problem::new("INVALID_SECRET", message)));
        }
        Ok(ReadSecret { secret: Secret::new(text.to_string()), exposed: !value.starts_with('@') })
    }
}

/// At most one byte more than a secret and its line end may have is read.
fn text_of(input: impl Read) -> io::Result<Zeroizing<String>> {
    let most = SECRET_BYTES_MAX + 3;
    // Room for all of it at once: a buffer that grows would leave copies behind.
    let mut text = Zeroizing::new(String::with_capacity(most + 1));
    input.take(most as u64).read_to_string(&mut text)?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(given: &str, stdin: &str) -> Result<(String, String, bool), Failure> {
        let (name, read) = SecretReader::new(stdin.as_bytes()).named(&given.parse().unwrap())?;
        Ok((name, read.secret.into_text(), read.exposed))
    }

    #[test]
    fn a_value_comes_from_a_file_from_standard_input_or_from_the_command_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "from file\r\n").unwrap();
        let from_file = format!("key=@{}", file.display());
        for (given, stdin, name, text, exposed) in [
            ("key=plain", "", "key", "plain", true),
            ("key=a=b", "", "key", "a=b", true),
            ("key=@-", "piped\n", "key", "piped", false),
            ("key=@-", "two\nlines\n\n", "key", "two\nlines\n", false),
            (&from_file, "", "key", "from file", false),
        ] {
            assert_eq!(read(given, stdin).unwrap(), (name.to_owned(), text.to_owned(), exposed), "{given}");
        }
    }

    #[test]
    fn a_complaint_does_not_repeat_what_was_given() {
        for given in ["hunter2", "=hunter2", "key=", "key=@-", &format!("key=hunter2{}", "x".repeat(SECRET_BYTES_MAX))]
        {
            let failure = read(given, "").unwrap_err();
            assert!(!format!("{failure:?}").contains("hunter2"), "{failure:?}");
        }
        let given: GivenSecret = "key=hunter2".parse().unwrap();
        assert_eq!(format!("{given:?}"), "[secret]");
    }

    #[test]
    fn a_secret_at_its_limit_and_one_past_it() {
        let most = "x".repeat(SECRET_BYTES_MAX);
        assert!(read("key=@-", &most).is_ok());
        assert!(read("key=@-", &format!("{most}\r\n")).is_ok());
        assert!(read("key=@-", &format!("{most}x")).is_err());
    }

    #[test]
    fn standard_input_gives_one_secret() {
        let mut reader = SecretReader::new("text".as_bytes());
        let given: GivenSecret = "@-".parse().unwrap();
        assert!(reader.value("a", &given).is_ok());
        assert_eq!(reader.value("b", &given).unwrap_err().problem.code, "USAGE");
    }
}
