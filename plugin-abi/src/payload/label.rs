//! Labels that people choose and change: they are known by their words.

/// Whether one of these phrases stands in a label, as whole words, whatever the case and what is between the words. The
/// phrases are in lower case, with one blank between words.
///
/// ```
/// use plugin_abi::payload::names_any;
/// let unsolved = ["duplicate", "not solved"];
/// assert!(names_any("Closed - Duplicate", &unsolved) && names_any("NOT_SOLVED (too costly)", &unsolved));
/// assert!(!names_any("Deduplicated; not yet solved", &unsolved));
/// ```
pub fn names_any(label: &str, phrases: &[&str]) -> bool {
    let words = label.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let spaced = words.fold(String::from(" "), |text, word| text + &word.to_lowercase() + " ");
    phrases.iter().any(|phrase| spaced.contains(&format!(" {phrase} ")))
}
