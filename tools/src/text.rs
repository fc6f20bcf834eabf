//! Texts on their way into a CRM: cut to what a field holds, compared as a CRM would, made safe inside HTML.

/// A text that fits, and how long it was when it did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fitted {
    pub(crate) text: String,
    /// Length before the cut, in the units of the limit, when something was cut.
    pub(crate) was: Option<usize>,
}

/// Cuts a text to `limit` units and ends it with an ellipsis. Units are UTF-16 code units, the strictest way in which a
/// CRM may count; characters stay whole.
pub(crate) fn fit(text: &str, limit: usize) -> Fitted {
    fit_by(text, limit, char::len_utf16)
}

/// Cuts a text so that it fits once it is escaped by [`html_lines`] or [`inert`].
pub(crate) fn fit_html(text: &str, limit: usize) -> Fitted {
    fit_by(text, limit, |c| escaped(c).map_or_else(|| c.len_utf16(), str::len))
}

fn fit_by(text: &str, limit: usize, units: impl Fn(char) -> usize) -> Fitted {
    let total: usize = text.chars().map(&units).sum();
    if total <= limit {
        return Fitted {
            text: text.to_owned(),
            was: None,
        };
    }
    let mut left = limit.saturating_sub(units('…'));
    let mut kept = String::new();
    for c in text.chars() {
        match left.checked_sub(units(c)) {
            Some(rest) => left = rest,
            None => break,
        }
        kept.push(c);
    }
    let mut kept = kept.trim_end().to_owned();
    kept.push('…');
    Fitted {
        text: kept,
        was: Some(total),
    }
}

fn escaped(c: char) -> Option<&'static str> {
    Some(match c {
        '&' => "&amp;",
        '<' => "&lt;",
        '>' => "&gt;",
        '\n' => "<br>",
        '\r' => "",
        _ => return None,
    })
}

/// Plain text for the inside of an HTML element: markup in it shows as text, lines stay lines.
pub(crate) fn html_lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match escaped(c) {
            Some(entity) => out.push_str(entity),
            None => out.push(c),
        }
    }
    out
}

/// Plain text for a field that some screens show as HTML and others as it is: markup is inert, line ends stay as they are.
pub(crate) fn inert(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Whether two values of a field are the same to a CRM, which trims texts, writes line ends its own way, and gives
/// numbers back with or without decimals.
pub(crate) fn same(a: &str, b: &str) -> bool {
    let (a, b) = (plain(a), plain(b));
    a == b || matches!((number(&a), number(&b)), (Some(a), Some(b)) if a == b)
}

fn plain(text: &str) -> String {
    text.replace("\r\n", "\n").trim().to_owned()
}

/// A number as we write it: digits, sign, point. Longer texts of digits are ids and stay exact.
pub(crate) fn number(text: &str) -> Option<f64> {
    let plain = (1..=15).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'.'));
    plain.then(|| text.parse().ok()).flatten()
}

/// A JSON value as the text of a field: nothing for null and empty, `72` for `72.0`.
pub(crate) fn shown(value: &serde_json::Value) -> Option<String> {
    use serde_json::Value;
    match value {
        Value::Null => None,
        Value::String(text) => (!text.is_empty()).then(|| text.clone()),
        Value::Number(number) => {
            let text = number.to_string();
            Some(text.strip_suffix(".0").map(str::to_owned).unwrap_or(text))
        }
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => Some(value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(
            fit("short", 5),
            Fitted {
                text: "short".to_owned(),
                was: None
            }
        );
        let cut = fit("grün und gut", 6);
        assert_eq!((cut.text.as_str(), cut.was), ("grün…", Some(12)));
        // An emoji counts as two and is never split.
        assert_eq!(fit("😀😀😀", 4).text, "😀…");
        for limit in 1..20 {
            let cut = fit("a😀é漢字 and more text here", limit);
            assert!(cut.text.encode_utf16().count() <= limit, "{limit}: {}", cut.text);
        }
    }

    #[test]
    fn html_is_measured_after_escaping() {
        let cut = fit_html(&"<&>".repeat(100), 50);
        assert!(html_lines(&cut.text).encode_utf16().count() <= 50, "{}", cut.text);
        assert_eq!(html_lines("a<b>\r\n\"c\" & 'd'"), "a&lt;b&gt;<br>\"c\" &amp; 'd'");
        assert_eq!(inert("a<b>\n&lt;"), "a&lt;b&gt;\n&amp;lt;");
    }

    #[test]
    fn values_are_compared_as_a_crm_keeps_them() {
        assert!(same("72", "72.0") && same(" a\r\nb ", "a\nb") && same("", "  "));
        assert!(!same("72", "73") && !same("a", "A") && !same("1e2", "100") && !same("", "0"));
    }
}
