//! The known name that somebody may have meant with another one.

/// The name that looks most like this one, when they are near enough that a slip explains the difference.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = wrong.to_lowercase();
    let distance = |name: &str| strsim::damerau_levenshtein(&lower, &name.to_lowercase());
    let slips_max = 1 + wrong.chars().count() / 4;
    let (distance, name) = known.into_iter().map(|name| (distance(name), name)).min()?;
    (distance <= slips_max).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_slip_explains_is_near() {
        let known = ["jira", "zendesk", "servicedesk_plus", "servicenow"];
        for (wrong, expected) in [
            ("jirra", Some("jira")),
            ("Jira", Some("jira")),
            ("zen", None),
            ("zendsek", Some("zendesk")),
            ("service_desk_plus", Some("servicedesk_plus")),
            ("acme_desk", None),
            ("", None),
        ] {
            assert_eq!(nearest(wrong, known), expected, "{wrong}");
        }
        assert_eq!(nearest("jira", []), None);
    }
}
