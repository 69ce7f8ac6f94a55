//! Finds the known name that is most similar to an unknown one.

/// The known configuration key that is most similar to `wrong`, if it is near enough. The last part of a name counts
/// double, because people forget the section more often than the key. Case does not count, because variables are often
/// written in lower case.
pub fn nearest<T: AsRef<str>>(wrong: &str, known: impl IntoIterator<Item = T>) -> Option<T> {
    let leaf = |name: &str| name.rsplit(['.', '_']).next().unwrap_or_default().to_owned();
    let wrong = wrong.to_lowercase();
    let distance = |name: &T| {
        let name = name.as_ref().to_lowercase();
        let of_leaves = strsim::damerau_levenshtein(&leaf(&wrong), &leaf(&name));
        (strsim::damerau_levenshtein(&wrong, &name) + of_leaves, of_leaves == 0)
    };
    let nearest = known.into_iter().map(|name| (distance(&name), name)).min_by_key(|((distance, _), _)| *distance);
    let near = nearest.filter(|((distance, same_leaf), _)| *same_leaf || *distance <= 2 + wrong.len() / 4);
    near.map(|(_, name)| name)
}

/// The known name that was probably meant: at most one letter in three differs, as after a typing error.
pub fn near<T: AsRef<str>>(wrong: &str, known: impl IntoIterator<Item = T>) -> Option<T> {
    let (wrong, slips_max) = (wrong.to_lowercase(), 1.max(wrong.chars().count() / 3));
    let slips = |name: &T| strsim::damerau_levenshtein(&wrong, &name.as_ref().to_lowercase());
    known.into_iter().min_by_key(slips).filter(|name| slips(name) <= slips_max)
}

/// `did you mean NAME? ` if a name is near, otherwise nothing; for the beginning of a sentence.
pub fn did_you_mean<T: AsRef<str>>(wrong: &str, known: impl IntoIterator<Item = T>) -> String {
    near(wrong, known).map(|name| format!("did you mean {}? ", name.as_ref())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_slip_explains_is_near() {
        let known = ["jira", "zendesk", "servicedesk_plus"];
        for (wrong, expected) in [
            ("jirra", Some("jira")),
            ("JIRA", Some("jira")),
            ("zendsek", Some("zendesk")),
            ("service_desk_plus", Some("servicedesk_plus")),
            ("freshservice", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(near(wrong, known), expected, "{wrong:?}");
        }
        assert_eq!(near("jira", [""; 0]), None);
        assert_eq!(did_you_mean("jirra", known), "did you mean jira? ");
        assert_eq!(did_you_mean("x", known), "");
    }
}
