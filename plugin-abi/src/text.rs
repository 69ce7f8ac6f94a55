//! Plain text within a tool's limits.

/// What stands where a text was cut.
pub const CUT: &str = " … [shortened]";

/// The text when it has at most `chars_max` characters; else its beginning, a mark that it was cut, and `ending`, always
/// whole, on a line of its own.
pub fn within(text: &str, ending: &str, chars_max: usize) -> String {
    if text.chars().nth(chars_max).is_none() {
        return text.to_owned();
    }
    let room = chars_max.saturating_sub(CUT.chars().count() + 1 + ending.chars().count());
    let beginning: String = text.chars().take(room).collect();
    format!("{}{CUT}\n{ending}", beginning.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_too_long_is_cut() {
        for (text, chars_max, expected) in [
            ("", 0, ""),
            ("né [m]", 6, "né [m]"),
            ("one two three four five [m]", 27, "one two three four five [m]"),
            ("one two three four five [m]", 26, "one two … [shortened]\n[m]"),
            ("éééééééééééééééééééééééé", 20, "éé … [shortened]\n[m]"),
            // Where not even the ending fits, it is whole all the same.
            ("abcdef", 3, " … [shortened]\n[m]"),
        ] {
            assert_eq!(within(text, "[m]", chars_max), expected, "{text}");
        }
    }
}
