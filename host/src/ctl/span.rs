//! Times as people type them: a number and a unit.

/// A time such as `24h`, in seconds, at most `most_s`: whole days.
pub(super) fn seconds(text: &str, most_s: u32) -> Result<u32, String> {
    let form = || "must be a number and s, m, h or d, such as 24h".to_owned();
    let (unit_at, unit) = text.char_indices().last().ok_or_else(form)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(form()),
    };
    let number = &text[..unit_at];
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(form());
    }
    let span = number.parse::<u32>().ok().and_then(|number| number.checked_mul(seconds));
    span.filter(|span| *span <= most_s).ok_or_else(|| format!("must be at most {}d", most_s / 86_400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_a_number_with_a_unit() {
        for (text, expected) in [
            ("24h", Some(86_400)),
            ("0s", Some(0)),
            ("90m", Some(5_400)),
            ("90d", Some(7_776_000)),
            ("91d", None),
            ("4294967295h", None),
            ("99999999999s", None),
            ("24", None),
            ("h", None),
            ("", None),
            ("-1h", None),
            ("1.5h", None),
            ("24 h", None),
            ("5ä", None),
        ] {
            assert_eq!(seconds(text, 90 * 86_400).ok(), expected, "{text:?}");
        }
    }
}
