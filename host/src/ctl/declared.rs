//! The settings and secrets that a plugin declares, for people to read.

use std::fmt::Write as _;

use plugin_abi::declared::{Declaration, DeclaredName};

use super::table::plain;

/// One line for each name, under a heading. Says so if the plugin declares nothing.
pub(super) fn declared_text(declares: Option<&Declaration>) -> String {
    let Some(declares) = declares else {
        return "settings and secrets: not declared by the plugin\n".to_owned();
    };
    let mut text = String::new();
    for (heading, names) in [("settings", &declares.settings), ("secrets", &declares.secrets)] {
        list(&mut text, heading, names);
    }
    text
}

fn list(text: &mut String, heading: &str, names: &[DeclaredName]) {
    let none = if names.is_empty() { " none" } else { "" };
    writeln!(text, "{heading}:{none}").expect("a String takes all that is written");
    let width = names.iter().map(|declared| declared.name.chars().count()).max().unwrap_or(0);
    for declared in names {
        let (name, about) = (plain(&declared.name), plain(&declared.about));
        let required = if declared.required { " (required)" } else { "" };
        writeln!(text, "  {name:<width$}  {about}{required}").expect("a String takes all that is written");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_stands_on_a_line() {
        let declares = r#"{
            "settings": [{"name": "api_user", "about": "the agent\u001b"}, {"name": "a", "about": "b"}],
            "secrets": [{"name": "api_key", "required": true, "about": "its key"}]
        }"#;
        let expected =
            "settings:\n  api_user  the agent\u{fffd}\n  a         b\nsecrets:\n  api_key  its key (required)\n";
        assert_eq!(declared_text(Some(&serde_json::from_str(declares).unwrap())), expected);
    }

    #[test]
    fn nothing_declared_differs_from_none_read() {
        assert_eq!(declared_text(None), "settings and secrets: not declared by the plugin\n");
        assert_eq!(declared_text(Some(&Declaration::default())), "settings: none\nsecrets: none\n");
    }
}
