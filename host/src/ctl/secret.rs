//! Secrets given on the command line, in a file or on standard input.

use std::{
    convert::Infallible,
    fmt,
    fs::File,
    io::{self, Read},
    path::Path,
    str::FromStr,
};

use zeroize::Zeroizing;

use super::{console::Console, failure::Failure};
use crate::{
    admin::wire::{Problem, Secret},
    tenant::secrets::SECRET_BYTES_MAX,
};

/// The text typed in place of a secret. Any text is accepted here, so that no error of the parser quotes it.
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

/// A secret's text, and what is unusual about it.
#[derive(Debug)]
pub struct ReadSecret {
    /// The text.
    pub secret: Secret,
    /// Whether it was typed in clear text: other users can see it in the process list, and the shell keeps it.
    pub exposed: bool,
    /// The invisible characters that it begins or ends with, if any.
    pub invisible: Option<String>,
}

impl ReadSecret {
    /// Takes the secret of this name, and warns about anything unusual.
    pub fn taken(self, name: &str, console: &Console) -> Secret {
        if self.exposed {
            console.warn(&format!(
                "secret {name} stands on the command line, where other users and the shell's history see it; \
                 write {name}=@FILE or @- instead, and rotate it"
            ));
        }
        if let Some(ends) = &self.invisible {
            console.warn(&invisible_warning(&format!("secret {name}"), ends));
        }
        self.secret
    }
}

/// The warning about a secret with invisible characters at its ends.
pub(super) fn invisible_warning(secret: &str, ends: &str) -> String {
    format!(
        "{secret} {ends}, which nobody sees; it is taken as it is. If the tool's own secret has no such end, none of its \
         webhooks will be authentic and none of our requests be let in: write the file again with printf %s 'TEXT', or \
         take the end away (line ends: tr -d '\\r\\n' <FILE >NEW; a byte order mark: tail -c +4 FILE >NEW), and set it \
         again with @NEW"
    )
}

/// Describes invisible characters at the beginning or end of a text, such as `begins with a blank (U+0020)`. Blanks and
/// line ends around a JSON object do no harm.
pub(super) fn invisible_ends(text: &str) -> Option<String> {
    let text = if text.trim_start().starts_with('{') { text.trim_matches([' ', '\t', '\r', '\n']) } else { text };
    let end = |c: Option<char>| c.and_then(|c| Some(format!("{} (U+{:04X})", invisible(c)?, u32::from(c))));
    match (end(text.chars().next()), end(text.chars().next_back())) {
        (None, None) => None,
        (Some(first), None) => Some(format!("begins with {first}")),
        (None, Some(last)) => Some(format!("ends with {last}")),
        (Some(first), Some(last)) => Some(format!("begins with {first} and ends with {last}")),
    }
}

/// The name of a character that is invisible on a screen.
fn invisible(c: char) -> Option<&'static str> {
    Some(match c {
        '\u{feff}' => "a byte order mark",
        ' ' => "a blank",
        '\t' => "a tab",
        '\r' => "a carriage return",
        '\n' => "a line feed",
        '\u{a0}' => "a no-break space",
        '\u{ad}' => "a soft hyphen",
        '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2064}' | '\u{34f}' | '\u{180e}' | '\u{fe00}'..='\u{fe0f}' => {
            "a zero-width character"
        }
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{206f}' => "a direction mark",
        '\u{115f}' | '\u{1160}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}' => "a blank letter",
        '\u{e0000}'..='\u{e0fff}' => "a tag character",
        c if c.is_whitespace() => "a space",
        c if c.is_control() => "a control character",
        _ => return None,
    })
}

/// Reads the secrets of one command. Only one of them can come from standard input.
pub struct SecretReader<R> {
    stdin: Option<R>,
}

impl<R: Read> SecretReader<R> {
    /// A reader that takes `@-` from `stdin`.
    pub fn new(stdin: R) -> Self {
        Self { stdin: Some(stdin) }
    }

    /// Reads `NAME=VALUE`; see [`value`](Self::value).
    pub fn named(&mut self, given: &GivenSecret) -> Result<(String, ReadSecret), Failure> {
        let Some((name, value)) = given.0.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            let problem = Problem::new("USAGE", "a --secret is not of the form NAME=VALUE")
                .mend("write --secret webhook_secret=@FILE, or webhook_secret=@- for standard input");
            return Err(Failure::usage(problem));
        };
        Ok((name.to_owned(), self.read(name, value)?))
    }

    /// Reads `@FILE`, `@-` or the text itself. One line end after the text is removed.
    pub fn value(&mut self, name: &str, given: &GivenSecret) -> Result<ReadSecret, Failure> {
        self.read(name, &given.0)
    }

    fn read(&mut self, name: &str, value: &str) -> Result<ReadSecret, Failure> {
        let wrong = |place: &str, error: &dyn fmt::Display| {
            let message = format!("secret {name} cannot be read from {place}: {error}");
            let problem = Problem::new("SECRET_UNREADABLE", message).state("nothing was changed");
            Failure::failed(problem.mend("check the path, and that you may read the file"))
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
            return Err(Failure::failed(
                Problem::new("INVALID_SECRET", message).mend("look at the file: it may be the wrong one"),
            ));
        }
        let invisible = invisible_ends(&text);
        Ok(ReadSecret { secret: Secret::new(text.to_string()), exposed: !value.starts_with('@'), invisible })
    }
}

/// Reads at most one byte more than a secret and its line end may have.
fn text_of(input: impl Read) -> io::Result<Zeroizing<String>> {
    let most = SECRET_BYTES_MAX + 3;
    // Reserves room for all of it at once: a growing buffer would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(most + 1));
    input.take(most as u64).read_to_end(&mut bytes)?;
    let invalid = |why| io::Error::new(io::ErrorKind::InvalidData, why);
    if is_utf_16(&bytes) {
        return Err(invalid(
            "it is UTF-16, as PowerShell writes it; write it as UTF-8 without a byte order mark, in PowerShell by \
             [IO.File]::WriteAllText($path, $text)",
        ));
    }
    let text = str::from_utf8(&bytes).map_err(|_| invalid("it is not UTF-8"))?;
    let text = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    Ok(Zeroizing::new(text.to_owned()))
}

/// Recognises UTF-16 by its byte order mark, or by the zero byte that each letter of a secret has in it.
fn is_utf_16(bytes: &[u8]) -> bool {
    matches!(bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..])
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
    fn an_end_that_nobody_sees_is_named() {
        for (text, expected) in [
            ("plain", None),
            ("two words", None),
            ("inner\u{feff}mark", None),
            ("-_=+/", None),
            ("ü株", None),
            ("\u{feff}secret", Some("begins with a byte order mark (U+FEFF)")),
            (" secret", Some("begins with a blank (U+0020)")),
            ("secret ", Some("ends with a blank (U+0020)")),
            ("secret\n", Some("ends with a line feed (U+000A)")),
            ("secret\r", Some("ends with a carriage return (U+000D)")),
            ("\tsecret\u{a0}", Some("begins with a tab (U+0009) and ends with a no-break space (U+00A0)")),
            ("secret\u{200b}", Some("ends with a zero-width character (U+200B)")),
            ("\u{202e}secret", Some("begins with a direction mark (U+202E)")),
            ("secret\u{2003}", Some("ends with a space (U+2003)")),
            ("secret\u{0}", Some("ends with a control character (U+0000)")),
            ("secret\u{ad}", Some("ends with a soft hyphen (U+00AD)")),
            ("\u{3164}secret", Some("begins with a blank letter (U+3164)")),
            ("\n", Some("begins with a line feed (U+000A) and ends with a line feed (U+000A)")),
            (" {\"oauth2\": {}}\n\n", None),
            ("\u{feff}{\"oauth2\": {}}", Some("begins with a byte order mark (U+FEFF)")),
        ] {
            assert_eq!(invisible_ends(text).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn one_line_end_goes_and_what_else_is_there_is_told() {
        for (stdin, text, invisible) in [
            ("secret\n", "secret", None),
            ("secret\r\n", "secret", None),
            ("secret\n\n", "secret\n", Some("ends with a line feed (U+000A)")),
            ("secret \n", "secret ", Some("ends with a blank (U+0020)")),
            ("\u{feff}secret\r\n", "\u{feff}secret", Some("begins with a byte order mark (U+FEFF)")),
        ] {
            let mut reader = SecretReader::new(stdin.as_bytes());
            let read = reader.value("key", &"@-".parse().unwrap()).unwrap();
            assert_eq!(read.invisible.as_deref(), invisible, "{stdin:?}");
            assert_eq!(read.secret.into_text(), text, "{stdin:?}");
        }
    }

    #[test]
    fn what_is_no_utf_8_is_told_with_how_to_mend_it_and_not_repeated() {
        let of = |text: &str, to_bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(to_bytes).collect::<Vec<_>>();
        for (bytes, expected) in [
            (of("\u{feff}hunter2\r\n", u16::to_le_bytes), "it is UTF-16"),
            (of("\u{feff}hunter2", u16::to_be_bytes), "it is UTF-16"),
            (of("hunter2", u16::to_le_bytes), "it is UTF-16"),
            (of("hunter2", u16::to_be_bytes), "it is UTF-16"),
            (b"hunter2\xff".to_vec(), "it is not UTF-8"),
        ] {
            let failure = SecretReader::new(&*bytes).value("key", &"@-".parse().unwrap()).unwrap_err();
            let message = &failure.problem.message;
            assert_eq!(failure.problem.code, "SECRET_UNREADABLE");
            assert!(message.contains(expected) && !message.contains("hunter2"), "{message}");
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
